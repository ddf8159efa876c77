"""DID Exchange (Aries RFC 0023, versions 1.0 and 1.1, read as of 2025-01), and Connections 1.0 (RFC 0160) as a dialect.

The machine is the RFC's table; the dialects differ in how a DID and its document are written into request and response:

- didexchange/1.1: a DID that can be resolved; the responder signs it with the invitation's key (`did_rotate~attach`);
- didexchange/1.0: a DID with its document attached, signed (`did_doc~attach`); a DID that can be resolved is read too;
- connections/1.0: `connection: {DID, DIDDoc}`, signed in the response (`connection~sig`, RFC 0234), and no `complete`:
  the first message that the requester sends on the new connection ends the exchange.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from tntcore.messaging.message import Message
from tntcore.messaging.problems import is_problem_report, read_problem_report
from tntcore.messaging.types import DIDCOMM_ORG, MessageType, canonical, parse
from tntcore.protocols.transition import OutOfTurn

Role = Literal["requester", "responder"]
State = Literal[
    "start",
    "invitation-sent",
    "invitation-received",
    "request-sent",
    "request-received",
    "response-sent",
    "response-received",
    "completed",
    "abandoned",
]
Event = Literal[
    "invitation",
    "send request",
    "receive request",
    "send response",
    "receive response",
    "send complete",
    "receive complete",
    "send problem-report",
    "receive problem-report",
]

# A problem report has two outcomes: the first is the state from which to retry, the second the end.
TRANSITIONS: Final[Mapping[tuple[str, str, Event], tuple[State, ...]]] = {
    ("requester", "start", "invitation"): ("invitation-received",),
    ("requester", "invitation-received", "send request"): ("request-sent",),
    ("requester", "invitation-received", "send problem-report"): ("start", "abandoned"),
    ("requester", "request-sent", "receive response"): ("response-received",),
    ("requester", "request-sent", "receive problem-report"): ("invitation-received", "abandoned"),
    ("requester", "response-received", "send complete"): ("completed",),
    ("requester", "response-received", "send problem-report"): ("request-sent", "abandoned"),
    ("responder", "start", "invitation"): ("invitation-sent",),
    ("responder", "invitation-sent", "receive request"): ("request-received",),
    ("responder", "invitation-sent", "receive problem-report"): ("start", "abandoned"),
    ("responder", "request-received", "send response"): ("response-sent",),
    ("responder", "request-received", "send problem-report"): ("invitation-sent", "abandoned"),
    ("responder", "response-sent", "receive complete"): ("completed",),
    ("responder", "response-sent", "receive problem-report"): ("request-received", "abandoned"),
}

RETRY_CODES: Final = frozenset(
    {"request_not_accepted", "request_processing_error", "response_not_accepted", "response_processing_error"}
)


def move(role: str, state: str, event: Event, *, retry: bool = False) -> State:
    """Returns the state that follows. Raises `OutOfTurn`.

    Args:
        role, state: `Role` and `State`, as they are stored.
        retry: of a problem report's outcomes, the one that leaves the exchange open.
    """
    outcomes = TRANSITIONS.get((role, state, event))
    if outcomes is None:
        raise OutOfTurn(f"a {role} in state {state} does not {event}")
    return outcomes[0] if retry else outcomes[-1]


DID_EXCHANGE_1_1: Final = "https://didcomm.org/didexchange/1.1"
DID_EXCHANGE_1_0: Final = "https://didcomm.org/didexchange/1.0"
CONNECTIONS_1_0: Final = "https://didcomm.org/connections/1.0"
SUPPORTED: Final = (DID_EXCHANGE_1_1, DID_EXCHANGE_1_0, CONNECTIONS_1_0)

MessageKind = Literal["request", "response", "complete", "problem-report"]


def nearest(protocol: str) -> str | None:
    """Returns the one of `SUPPORTED` by which an offered protocol is spoken: a later minor version is answered in the
    latest that is known here (RFC 0003, "Semver Rules"). None for any other protocol or major version.

    Args:
        protocol: its URI, e.g. `https://didcomm.org/didexchange/1.2`, in either spelling of the prefix.
    """
    parsed = parse(canonical(protocol.rstrip("/")) + "/request")
    return _dialect(parsed) if parsed is not None else None


def _dialect(parsed: MessageType) -> str | None:
    if parsed.prefix.lower() != DIDCOMM_ORG or parsed.major != 1:
        return None
    match parsed.protocol.lower():
        case "didexchange":
            return DID_EXCHANGE_1_0 if parsed.minor == 0 else DID_EXCHANGE_1_1
        case "connections":
            return CONNECTIONS_1_0
    return None


@dataclass(frozen=True, slots=True)
class HandshakeStep:
    """A message of one of the dialects.

    Attributes:
        protocol: one of `SUPPORTED`, the nearest of the same major version.
        prefix: the protocol's URI in the spelling and minor version that the message had, without a slash at its end.
    """

    protocol: str
    prefix: str
    kind: MessageKind


def read_step(message: Message) -> HandshakeStep | None:
    """Returns the step of the exchange that a message is, or None if it belongs to no dialect."""
    parsed = parse(canonical(message.type))
    protocol = _dialect(parsed) if parsed is not None and message.version == "v1" else None
    if parsed is None or protocol is None:
        return None
    prefix = message.type.rpartition("/")[0]
    if is_problem_report(message.type):
        return HandshakeStep(protocol, prefix, "problem-report")
    if parsed.name == "request" or parsed.name == "response":
        return HandshakeStep(protocol, prefix, "request" if parsed.name == "request" else "response")
    if parsed.name == "complete" and protocol != CONNECTIONS_1_0:
        return HandshakeStep(protocol, prefix, "complete")
    return None


def may_retry(message: Message) -> bool:
    """Whether a problem report leaves the exchange open (RFC 0023, "Errors"): its code is one of the RFC's four."""
    report = read_problem_report(message)
    return report is not None and report.code in RETRY_CODES


def request(
    prefix: str, *, message_id: str, pthid: str, label: str, did: str, attached: Mapping[str, Any]
) -> dict[str, Any]:
    """Makes a request. `~thread.thid` is the request's own id, as most agents write it.

    Args:
        attached: the members that carry the document: `{"did_doc~attach": ...}`, or for connections/1.0 `{"connection":
            {DID, DIDDoc}}`.
    """
    body: dict[str, Any] = {
        "@type": f"{prefix}/request",
        "@id": message_id,
        "~thread": {"thid": message_id, "pthid": pthid},
        "label": label,
    }
    return {**body, **({} if _is_connections(prefix) else {"did": did}), **attached}


def response(
    prefix: str, *, message_id: str, thid: str, pthid: str, did: str, attached: Mapping[str, Any]
) -> dict[str, Any]:
    """Args:
    pthid: of the request. Some agents copy it from here into their `complete`, and fail without it.
    """
    body: dict[str, Any] = {
        "@type": f"{prefix}/response",
        "@id": message_id,
        "~thread": {"thid": thid, **({"pthid": pthid} if pthid else {})},
    }
    return {**body, **({} if _is_connections(prefix) else {"did": did}), **attached}


def complete(prefix: str, *, message_id: str, thid: str, pthid: str) -> dict[str, Any]:
    return {"@type": f"{prefix}/complete", "@id": message_id, "~thread": {"thid": thid, "pthid": pthid}}


def problem_report(prefix: str, *, message_id: str, thid: str, code: str, explain: str) -> dict[str, Any]:
    """Makes a problem report, with the code in both places where agents look for it (RFC 0023, RFC 0035)."""
    return {
        "@type": f"{prefix}/problem_report",
        "@id": message_id,
        "~thread": {"thid": thid},
        "~l10n": {"locale": "en"},
        "problem-code": code,
        "explain": explain,
        "description": {"code": code, "en": explain},
    }


def _is_connections(prefix: str) -> bool:
    return "/connections/" in prefix
