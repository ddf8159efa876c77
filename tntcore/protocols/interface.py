"""What a protocol of credentials is to the exchanges that follow it.

The modules `issue_credential` and `present_proof` are checked against this interface where they are registered, in
`exchanges.flows`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from tntcore.credentials.formats import Draft
from tntcore.dids.document import Version
from tntcore.messaging.message import Message
from tntcore.messaging.types import parse
from tntcore.protocols.credential_messages import Content, Step


class CredentialProtocol(Protocol):
    """Pure. A `kind` is that of a step, such as `offer`; a `role` and a `state` are the RFC's."""

    def read_step(self, message: Message) -> Step[Any] | None:
        """Which step of the protocol a message is; None if it is none."""

    def read(self, message: Message, step: Any) -> Content:
        """What the message says. Raises `FormatError`."""

    def event(self, kind: Any, *, received: bool) -> Any:
        """What a message of this kind is to the table of states."""

    @property
    def move(self) -> Callable[..., str]:
        """The state that follows, of role, state, event, and what else the move depends on, which each protocol has
        arguments of its own for. Raises `OutOfTurn`."""

    def begins(self, kind: Any, received: bool) -> str:
        """Our role in an exchange whose first message is this. Raises `OutOfTurn`: it begins none."""

    def build(
        self,
        prefix: str,
        kind: Any,
        *,
        message_id: str,
        thid: str,
        version: Version,
        attachments: Sequence[tuple[str, Draft]],
        **members: Any,
    ) -> Mapping[str, Any]:
        """A complete message in the dialect of `prefix`."""

    def ack(self, prefix: str, *, message_id: str, thid: str, version: Version) -> Mapping[str, Any]:
        """The acknowledgement."""

    def problem_report(
        self, prefix: str, *, message_id: str, thid: str, code: str, explain: str, version: Version
    ) -> Mapping[str, Any]:
        """The end of an exchange. Arguments as `credential_messages.problem_report` has them."""


def name_of(prefix: str) -> str:
    """A protocol's name, such as `issue-credential`, by its URI in any spelling and version; "" if it is none."""
    parsed = parse(f"{prefix}/x")
    return parsed.protocol if parsed is not None else ""
