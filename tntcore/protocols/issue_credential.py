"""Issue Credential (Aries RFC 0036, 1.0 and 1.1; RFC 0453, 2.0, read as of 2024-03; 3.0 of WACI DIDComm, read as of
2023-06). One machine; the versions are dialects of its messages (`credential_messages`).

The RFCs have no table of states, but a choreography and names. Decisions where those leave a choice:

- a problem report ends the exchange on both sides. The RFCs call the state that follows `null`; here it is `abandoned`,
  as RFC 0454 names it;
- the choreography shows an offer answered by a proposal, and that by an offer. RFC 0453 ("Offer Credential") also has
  the issuer negotiate by an offer after a request;
- 2.1, which stood in RFC 0453 until 2024-03, lets the holder request again after a credential that says that there are
  more. Without that word of the issuer's, a second request is out of turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from tntcore.credentials.formats import Attribute, CredentialStep, Draft
from tntcore.dids.document import Version
from tntcore.messaging.message import Message
from tntcore.protocols import credential_messages
from tntcore.protocols.credential_messages import (
    Content,
    attached,
    attributes,
    common,
    compose,
    count,
    dialect_of,
    objects,
    step_of,
    text,
)
from tntcore.protocols.credential_messages import ack as ack
from tntcore.protocols.credential_messages import problem_report as problem_report
from tntcore.protocols.transition import OutOfTurn

Role = Literal["issuer", "holder"]
State = Literal[
    "start",
    "proposal-sent",
    "proposal-received",
    "offer-sent",
    "offer-received",
    "request-sent",
    "request-received",
    "credential-issued",
    "credential-received",
    "done",
    "abandoned",
]
MessageKind = Literal["propose", "offer", "request", "issue", "ack", "problem-report"]
Event = Literal[
    "send proposal",
    "receive proposal",
    "send offer",
    "receive offer",
    "send request",
    "receive request",
    "send credential",
    "receive credential",
    "send ack",
    "receive ack",
    "send problem-report",
    "receive problem-report",
]
Step = credential_messages.Step[MessageKind]

PROTOCOLS: Final[Mapping[str, Sequence[str]]] = {
    f"https://didcomm.org/issue-credential/{version}": ("issuer", "holder") for version in ("1.0", "2.0", "3.0")
}

TRANSITIONS: Final[Mapping[tuple[str, str, Event], State]] = {
    ("issuer", "start", "receive proposal"): "proposal-received",
    ("issuer", "start", "send offer"): "offer-sent",
    ("issuer", "start", "receive request"): "request-received",
    ("issuer", "proposal-received", "send offer"): "offer-sent",
    ("issuer", "proposal-received", "send problem-report"): "abandoned",
    ("issuer", "proposal-received", "receive problem-report"): "abandoned",
    ("issuer", "offer-sent", "receive proposal"): "proposal-received",
    ("issuer", "offer-sent", "receive request"): "request-received",
    ("issuer", "offer-sent", "send problem-report"): "abandoned",
    ("issuer", "offer-sent", "receive problem-report"): "abandoned",
    ("issuer", "request-received", "send offer"): "offer-sent",
    ("issuer", "request-received", "send credential"): "credential-issued",
    ("issuer", "request-received", "send problem-report"): "abandoned",
    ("issuer", "request-received", "receive problem-report"): "abandoned",
    ("issuer", "credential-issued", "receive ack"): "done",
    ("issuer", "credential-issued", "send problem-report"): "abandoned",
    ("issuer", "credential-issued", "receive problem-report"): "abandoned",
    ("holder", "start", "send proposal"): "proposal-sent",
    ("holder", "start", "receive offer"): "offer-received",
    ("holder", "start", "send request"): "request-sent",
    ("holder", "proposal-sent", "receive offer"): "offer-received",
    ("holder", "proposal-sent", "send problem-report"): "abandoned",
    ("holder", "proposal-sent", "receive problem-report"): "abandoned",
    ("holder", "offer-received", "send proposal"): "proposal-sent",
    ("holder", "offer-received", "send request"): "request-sent",
    ("holder", "offer-received", "send problem-report"): "abandoned",
    ("holder", "offer-received", "receive problem-report"): "abandoned",
    ("holder", "request-sent", "receive offer"): "offer-received",
    ("holder", "request-sent", "receive credential"): "credential-received",
    ("holder", "request-sent", "send problem-report"): "abandoned",
    ("holder", "request-sent", "receive problem-report"): "abandoned",
    ("holder", "credential-received", "send ack"): "done",
    ("holder", "credential-received", "send problem-report"): "abandoned",
    ("holder", "credential-received", "receive problem-report"): "abandoned",
}

MORE_AVAILABLE: Final[Mapping[tuple[str, str, Event], State]] = {
    ("issuer", "credential-issued", "receive request"): "request-received",
    ("holder", "credential-received", "send request"): "request-sent",
}
"""Beside those, while the latest credential said that there are more."""


def move(role: str, state: str, event: Event, *, more: bool = False) -> State:
    """Returns the state that follows. Raises `OutOfTurn`.

    Args:
        role, state: `Role` and `State`, as they are stored.
        more: the latest credential had `more_available`.
    """
    follows = TRANSITIONS.get((role, state, event)) or (MORE_AVAILABLE.get((role, state, event)) if more else None)
    if follows is None:
        raise OutOfTurn(f"a {role} in state {state} does not {event}")
    return follows


EVENTS: Final[Mapping[MessageKind, tuple[Event, Event]]] = {
    "propose": ("send proposal", "receive proposal"),
    "offer": ("send offer", "receive offer"),
    "request": ("send request", "receive request"),
    "issue": ("send credential", "receive credential"),
    "ack": ("send ack", "receive ack"),
    "problem-report": ("send problem-report", "receive problem-report"),
}


def event(kind: MessageKind, *, received: bool) -> Event:
    return EVENTS[kind][received]


def begins(kind: MessageKind, received: bool) -> Role:
    """Returns our role in an exchange whose first message is this. Raises `OutOfTurn` if it begins none."""
    if kind not in ("propose", "offer", "request"):
        raise OutOfTurn(f"no exchange begins with {kind}")
    return "issuer" if (kind == "offer") != received else "holder"


_NAMES: Final[Mapping[CredentialStep, str]] = {
    "propose": "propose-credential",
    "offer": "offer-credential",
    "request": "request-credential",
    "issue": "issue-credential",
}
_KINDS: Final[Mapping[str, MessageKind]] = {
    **{name: kind for kind, name in _NAMES.items()},
    "ack": "ack",
    "problem-report": "problem-report",
}
_ATTACHED: Final[Mapping[CredentialStep, str]] = {
    "propose": "filters~attach",
    "offer": "offers~attach",
    "request": "requests~attach",
    "issue": "credentials~attach",
}
# RFC 0036 names them (a request's is the one in use); agents look attachments up by them.
_ATTACHMENT_IDS_1: Final[Mapping[CredentialStep, str]] = {
    "offer": "libindy-cred-offer-{}",
    "request": "libindy-cred-request-{}",
    "issue": "libindy-cred-{}",
}
_FILTER_1: Final = ("schema_issuer_did", "schema_id", "schema_name", "schema_version", "cred_def_id", "issuer_did")


def read_step(message: Message) -> Step | None:
    """Returns the step of the protocol that a message is, or None if it is none. Any minor version of 1, 2 and 3."""
    return step_of(message, "issue-credential", _KINDS)


def read(message: Message, step: Step) -> Content:
    """Returns the content of the message.

    Raises:
        FormatError: `attachment-invalid` (`credential_messages.attached`), `preview-invalid` (over 500 attributes).
    """
    members = common(message)
    body = message.body
    if step.kind == "ack" or step.kind == "problem-report":
        return Content(**members)
    proposal_1 = step.dialect == "1.0" and step.kind == "propose"
    if proposal_1:
        members["members"] = {name: body[name] for name in _FILTER_1 if text(body.get(name))}
    else:
        needed = step.kind != "propose"
        members["attachments"] = attached(message, step.dialect, _ATTACHED[step.kind], needed=needed)
    if step.kind in ("propose", "offer"):
        members["preview"] = attributes(body.get("credential_proposal" if proposal_1 else "credential_preview"))
    if step.kind in ("offer", "issue"):
        members["replacement_id"] = text(body.get("replacement_id"))
    if step.kind == "offer":
        members["multiple_available"] = max(count(body.get("multiple_available"), 1), 1)
    if step.kind == "issue":
        members["more_available"] = count(body.get("more_available"), 0)
    return Content(**members)


def build(
    prefix: str,
    kind: CredentialStep,
    *,
    message_id: str,
    thid: str,
    version: Version,
    pthid: str = "",
    attachments: Sequence[tuple[str, Draft]] = (),
    preview: Sequence[Attribute] = (),
    comment: str = "",
    **members: Any,
) -> dict[str, Any]:
    """Makes a complete message in the dialect of `prefix`.

    Args:
        attachments: with their ids. 1.0 has ids of its own; its proposals have the members of a filter instead.
        members: `goal_code`, `replacement_id`, `multiple_available`, `more_available`, `please_ack` (a truth value),
            `expires_at` (milliseconds since 1970); 1.0's members of a proposal (`schema_id`, ...).

    Raises:
        ValueError: 3.0 in v1 shape, or no version of the protocol.
    """
    dialect = dialect_of(prefix)
    members = {"comment": comment, **members}
    if dialect == "1.0" and kind == "propose":
        for _, draft in attachments:
            members |= {name: value for name, value in objects(draft.value).items() if name in _FILTER_1}
        attachments = ()
    elif dialect == "1.0":
        attachments = [(_ATTACHMENT_IDS_1[kind].format(n), draft) for n, (_, draft) in enumerate(attachments)]
    if preview or (dialect == "1.0" and kind == "offer"):
        name = "credential_proposal" if dialect == "1.0" and kind == "propose" else "credential_preview"
        members[name] = _preview(prefix, message_id, preview)
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


def _preview(prefix: str, message_id: str, preview: Sequence[Attribute]) -> dict[str, Any]:
    dialect = dialect_of(prefix)
    mime_type = "media_type" if dialect == "3.0" else "mime-type"
    entries = [
        {"name": one.name, **({mime_type: one.mime_type} if one.mime_type else {}), "value": one.value}
        for one in preview
    ]
    # The type has the version of the dialect: minor versions did not change the preview.
    type_ = f"{prefix.rpartition('/')[0]}/{dialect}/credential-preview"
    if dialect == "3.0":
        return {"type": type_, "id": f"{message_id}-preview", "body": {"attributes": entries}}
    return {"@type": type_, "attributes": entries}
