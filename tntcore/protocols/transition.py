"""What a protocol decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Transition:
    """What a message changes beside being stored.

    Attributes:
        failed_threads: thread ids of the connection, or `@id`s of messages sent on it, whose actions have failed.
    """

    failed_threads: Sequence[str] = ()
