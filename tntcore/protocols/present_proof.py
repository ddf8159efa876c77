"""Present Proof (Aries RFC 0037, 1.0; RFC 0454, 2.0, read as of 2024-03; 3.0 of WACI DIDComm, read as of 2023-06). One
machine, RFC 0454's table of states; the versions are dialects of its messages (`credential_messages`).

Beyond the table:

- either side may send a problem report in any state that is not final, as the RFC's text has it ("Problem Report"),
  where the table leaves out two of them;
- the table lets a verifier replace its request (`request-sent`, send request); so a prover may receive another one;
- 2.1, which stood in RFC 0454 until 2024-03, leaves both where they are while further presentations follow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from tntcore.credentials.formats import Draft, ProofStep
from tntcore.dids.document import Version
from tntcore.messaging.message import Message
from tntcore.protocols import credential_messages
from tntcore.protocols.credential_messages import (
    Content,
    attached,
    common,
    compose,
    dialect_of,
    named,
    objects,
    step_of,
)
from tntcore.protocols.credential_messages import ack as ack
from tntcore.protocols.credential_messages import problem_report as problem_report
from tntcore.protocols.transition import OutOfTurn

Role = Literal["verifier", "prover"]
State = Literal[
    "start",
    "proposal-sent",
    "proposal-received",
    "request-sent",
    "request-received",
    "presentation-sent",
    "presentation-received",
    "done",
    "abandoned",
]
MessageKind = Literal["propose", "request", "present", "ack", "problem-report"]
Event = Literal[
    "send proposal",
    "receive proposal",
    "send request",
    "receive request",
    "send presentation",
    "receive presentation",
    "send ack",
    "receive ack",
    "send problem-report",
    "receive problem-report",
]
Step = credential_messages.Step[MessageKind]

PROTOCOLS: Final[Mapping[str, Sequence[str]]] = {
    f"https://didcomm.org/present-proof/{version}": ("verifier", "prover") for version in ("1.0", "2.0", "3.0")
}

TRANSITIONS: Final[Mapping[tuple[str, str, Event], State]] = {
    ("verifier", "start", "send request"): "request-sent",
    ("verifier", "start", "receive proposal"): "proposal-received",
    ("verifier", "request-sent", "send request"): "request-sent",
    ("verifier", "request-sent", "receive proposal"): "proposal-received",
    ("verifier", "request-sent", "receive presentation"): "presentation-received",
    ("verifier", "request-sent", "send problem-report"): "abandoned",
    ("verifier", "request-sent", "receive problem-report"): "abandoned",
    ("verifier", "proposal-received", "send request"): "request-sent",
    ("verifier", "proposal-received", "send problem-report"): "abandoned",
    ("verifier", "proposal-received", "receive problem-report"): "abandoned",
    ("verifier", "presentation-received", "send ack"): "done",
    ("verifier", "presentation-received", "send problem-report"): "abandoned",
    ("verifier", "presentation-received", "receive problem-report"): "abandoned",
    ("prover", "start", "receive request"): "request-received",
    ("prover", "start", "send proposal"): "proposal-sent",
    ("prover", "request-received", "receive request"): "request-received",
    ("prover", "request-received", "send proposal"): "proposal-sent",
    ("prover", "request-received", "send presentation"): "presentation-sent",
    ("prover", "request-received", "send problem-report"): "abandoned",
    ("prover", "request-received", "receive problem-report"): "abandoned",
    ("prover", "proposal-sent", "receive request"): "request-received",
    ("prover", "proposal-sent", "send problem-report"): "abandoned",
    ("prover", "proposal-sent", "receive problem-report"): "abandoned",
    ("prover", "presentation-sent", "receive ack"): "done",
    ("prover", "presentation-sent", "send problem-report"): "abandoned",
    ("prover", "presentation-sent", "receive problem-report"): "abandoned",
}

UNCONFIRMED: Final[Mapping[tuple[str, str, Event], State]] = {
    ("verifier", "request-sent", "receive presentation"): "done",
    ("prover", "request-received", "send presentation"): "done",
}
"""Instead of those, where no acknowledgement is to follow."""

MORE_FOLLOW: Final[Mapping[tuple[str, str, Event], State]] = {
    ("verifier", "request-sent", "receive presentation"): "request-sent",
    ("prover", "request-received", "send presentation"): "request-received",
}
"""Instead of those, for a presentation that is not the last."""


def move(role: str, state: str, event: Event, *, confirm: bool = True, last: bool = True) -> State:
    """Returns the state that follows. Raises `OutOfTurn`.

    Args:
        role, state: `Role` and `State`, as they are stored.
        confirm: an acknowledgement follows the presentation (`will_confirm` of the request, or `please_ack` of the
            presentation). last: no other presentation follows it (`last_presentation`).
    """
    transitions = TRANSITIONS if last and confirm else {**TRANSITIONS, **(UNCONFIRMED if last else MORE_FOLLOW)}
    follows = transitions.get((role, state, event))
    if follows is None:
        raise OutOfTurn(f"a {role} in state {state} does not {event}")
    return follows


EVENTS: Final[Mapping[MessageKind, tuple[Event, Event]]] = {
    "propose": ("send proposal", "receive proposal"),
    "request": ("send request", "receive request"),
    "present": ("send presentation", "receive presentation"),
    "ack": ("send ack", "receive ack"),
    "problem-report": ("send problem-report", "receive problem-report"),
}


def event(kind: MessageKind, *, received: bool) -> Event:
    return EVENTS[kind][received]


def begins(kind: MessageKind, received: bool) -> Role:
    """Returns our role in an exchange whose first message is this. Raises `OutOfTurn` if it begins none."""
    if kind not in ("propose", "request"):
        raise OutOfTurn(f"no exchange begins with {kind}")
    return "verifier" if (kind == "request") != received else "prover"


_NAMES: Final[Mapping[ProofStep, str]] = {
    "propose": "propose-presentation",
    "request": "request-presentation",
    "present": "presentation",
}
_KINDS: Final[Mapping[str, MessageKind]] = {
    **{name: kind for kind, name in _NAMES.items()},
    "ack": "ack",
    "problem-report": "problem-report",
}
_ATTACHED: Final[Mapping[ProofStep, str]] = {
    "propose": "proposals~attach",
    "request": "request_presentations~attach",
    "present": "presentations~attach",
}
# RFC 0037 names them; agents look attachments up by them.
_ATTACHMENT_IDS_1: Final[Mapping[ProofStep, str]] = {
    "request": "libindy-request-presentation-{}",
    "present": "libindy-presentation-{}",
}


def read_step(message: Message) -> Step | None:
    """Returns the step of the protocol that a message is, or None if it is none. Any minor version of 1, 2 and 3."""
    return step_of(message, "present-proof", _KINDS)


def read(message: Message, step: Step) -> Content:
    """Returns the content of the message.

    Raises:
        FormatError: `attachment-invalid` (`credential_messages.attached`), `preview-invalid` (over 500 entries).
    """
    members = common(message)
    body = message.body
    if step.kind == "ack" or step.kind == "problem-report":
        return Content(**members)
    if step.dialect == "1.0" and step.kind == "propose":
        preview = objects(body.get("presentation_proposal"))
        members["members"] = {name: list(named(preview.get(name))) for name in ("attributes", "predicates")}
    else:
        needed = step.kind != "propose"
        members["attachments"] = attached(message, step.dialect, _ATTACHED[step.kind], needed=needed)
    if step.kind == "request":
        members["will_confirm"] = step.dialect == "1.0" or body.get("will_confirm") is True
        members["present_multiple"] = body.get("present_multiple") is True
    if step.kind == "present":
        members["last_presentation"] = body.get("last_presentation") is not False
    return Content(**members)


def build(
    prefix: str,
    kind: ProofStep,
    *,
    message_id: str,
    thid: str,
    version: Version,
    pthid: str = "",
    attachments: Sequence[tuple[str, Draft]] = (),
    comment: str = "",
    **members: Any,
) -> dict[str, Any]:
    """A complete message in the dialect of `prefix`. A request says `will_confirm`, unless told otherwise.

    Args:
        attachments: with their ids. 1.0 has ids of its own, and its proposals have none.
        members: `goal_code`, `will_confirm`, `present_multiple`, `last_presentation`, `please_ack` (a truth value),
            `expires_at` (milliseconds since 1970); of a 1.0 proposal `attributes` and `predicates` (lists of objects).

    Raises:
        ValueError: 3.0 in v1 shape, attachments to a 1.0 proposal, or no version of the protocol.
    """
    dialect = dialect_of(prefix)
    members = {"comment": comment, **members}
    if dialect == "1.0" and kind == "propose":
        if attachments:
            raise ValueError("a proposal of 1.0 has attributes and predicates, not attachments")
        members["presentation_proposal"] = {
            "@type": f"{prefix.rpartition('/')[0]}/1.0/presentation-preview",
            "attributes": members.pop("attributes", []),
            "predicates": members.pop("predicates", []),
        }
    elif dialect == "1.0":
        attachments = [(_ATTACHMENT_IDS_1[kind].format(n), draft) for n, (_, draft) in enumerate(attachments)]
    elif kind == "request":
        members.setdefault("will_confirm", True)
    return compose(
        prefix,
        _NAMES[kind],
        message_id=message_id,
        thid=thid,
        version=version,
        pthid=pthid,
        key=_ATTACHED[kind],
        attachments=attachments,
        members=members,
    )
