"""The decision of a protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tntcore.messaging.message import Message
from tntcore.messaging.types import in_prefix_of


class OutOfTurn(Exception):
    """The protocol's table of states has no such move."""


@dataclass(frozen=True, slots=True)
class Transition:
    """The effects of a message besides being stored.

    Attributes:
        failed_threads: thread ids of the connection, or `@id`s of messages sent on it, whose actions have failed.
        replies: complete messages to send on the connection, in the version of the message that is answered.
    """

    failed_threads: Sequence[str] = ()
    replies: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """The inputs of a protocol's decision from outside.

    Attributes:
        new_id: a fresh `@id`.
        protocols: URI of every supported protocol, with our roles in it.
    """

    new_id: Callable[[], str]
    protocols: Mapping[str, Sequence[str]]


def reply(message: Message, message_type: str, context: DecisionContext, **members: Any) -> dict[str, Any]:
    """Makes an answer on the thread of `message`, in its version and in the spelling of its type."""
    type_ = in_prefix_of(message_type, message.type)
    if message.version == "v2":
        return {"id": context.new_id(), "type": type_, "thid": message.thid, "body": members}
    return {"@type": type_, "@id": context.new_id(), "~thread": {"thid": message.thid}, **members}
