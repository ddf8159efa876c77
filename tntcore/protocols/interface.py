"""The interface of a credential protocol for the exchanges that run it.

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
    """A credential protocol. Pure. A `kind` is that of a step, such as `offer`; a `role` and a `state` are the
    RFC's.
    """

    def read_step(self, message: Message) -> Step[Any] | None:
        """Returns the step of the protocol that a message is; None if it is none."""

    def read(self, message: Message, step: Any) -> Content:
        """Returns the content of the message. Raises `FormatError`."""

    def event(self, kind: Any, *, received: bool) -> Any:
        """Returns the event that a message of this kind is, in the table of states."""

    @property
    def move(self) -> Callable[..., str]:
        """Returns the state that follows, given role, state and event, and further arguments of each protocol. Raises
        `OutOfTurn`.
        """

    def begins(self, kind: Any, received: bool) -> str:
        """Returns our role in an exchange whose first message is this. Raises `OutOfTurn` if it begins none."""

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
        """Makes a complete message in the dialect of `prefix`."""

    def ack(self, prefix: str, *, message_id: str, thid: str, version: Version) -> Mapping[str, Any]:
        """Makes the acknowledgement."""

    def problem_report(
        self, prefix: str, *, message_id: str, thid: str, code: str, explain: str, version: Version
    ) -> Mapping[str, Any]:
        """Makes the problem report that ends an exchange. Arguments: see `credential_messages.problem_report`."""


def name_of(prefix: str) -> str:
    """Returns a protocol's name, such as `issue-credential`, from its URI in any spelling and version; "" if it is
    none.
    """
    parsed = parse(f"{prefix}/x")
    return parsed.protocol if parsed is not None else ""
