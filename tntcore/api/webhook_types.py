"""Calls that the service makes: a tenant's webhooks and its signer. `openapi.py` describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

from tntcore.api.json_schema import Words
from tntcore.api.views import Did, Sides, Time, Uuid


@dataclass(frozen=True, slots=True)
class Webhook:
    """One kind of call. `answer` is the type of the expected answer; None if only the status counts."""

    summary: str
    about: str
    body: Any
    example: Any = None
    answer: Any = None


class ReceivedMessage(Sides):
    """A received DIDComm message. `message` is the plaintext exactly as received: a string if it is not JSON,
    `{base64}` if it is not text."""

    message: Any
    type: str
    actionUuid: Uuid | None
    eventUuid: Annotated[Uuid, "id of this call, the same at every attempt"]
    assetUuid: Annotated[Uuid | None, "uuid of the stored message; null in a test"]
    assetDataUuids: list[Uuid]
    contactUuid: Uuid | None
    connectionUuid: Uuid | None
    sequence: Annotated[str, "sorts, as a string, in order of receipt"]
    authenticated: Annotated[bool, "whether the sender is proven"]


class Event(TypedDict):
    """The members that every event has."""

    time: Time
    sequence: Annotated[str, "sorts, as text, in order of time; the same for every entry that is called"]


class ConnectionEvent(Event):
    """A connection has come to a state, which is its `status`, in RFC 0023's words. `request-didexchange` and
    `answer-invitation`: it is the one that `POST /contact` began, by a DID or by an invitation, and is completed or
    over."""

    type: Literal["connection", "request-didexchange", "answer-invitation"]
    uuid: Uuid
    status: str
    role: str
    connectionUuid: Uuid
    contactUuid: Uuid
    identityUuid: Uuid
    invitationUuid: Uuid | None
    contactDid: Did | None
    claimedDid: Annotated[Did | None, "what the contact says that it is, and has not proven"]
    error: Annotated[str | None, "why the contact refused it"]


class ContactEvent(Event):
    """A contact is accepted, is rejected, or waits for the tenant's word. `did`: proven, or written by the tenant."""

    type: Literal["contact"]
    uuid: Uuid
    status: Literal["REQUESTED", "ACCEPTED", "REJECTED"]
    did: Did | None
    claimedDid: Annotated[Did | None, "what the contact says that it is, and has not proven"]
    connectionUuid: Uuid
    contactUuid: Uuid
    identityUuid: Uuid
    error: Annotated[str | None, "why the contact refused it"]


class _OfExchange(Event):
    uuid: Uuid
    status: str
    exchangeUuid: Uuid
    connectionUuid: str
    contactUuid: str
    role: str
    protocol: str


class ExchangeEvent(_OfExchange):
    """An exchange changed its state, which is `status`. `waiting`: it waits for your decision."""

    type: Literal["exchange"]
    waiting: bool
    error: str | None


class CredentialEvent(_OfExchange):
    """A credential or a presentation was received or sent."""

    type: Literal["credential", "presentation"]
    verified: bool


class InvitationEvent(Event):
    """A partner answered an invitation with a problem report."""

    type: Literal["invitation"]
    uuid: Uuid
    status: Literal["problem-reported"]
    messageUuid: Uuid
    contactUuid: Uuid | None
    identityUuid: Uuid


class DeliveryEvent(Event):
    """A webhook call or an outgoing message failed for good."""

    type: Literal["delivery"]
    uuid: Uuid
    status: Literal["FAILED"]
    error: str
    messageUuid: Uuid | None


class WebhookEvent(Event):
    """A webhook entry was disabled, because too many of its calls failed. `uuid` is the entry's id."""

    type: Literal["webhook"]
    uuid: str
    status: Literal["DISABLED"]
    key: Literal["DIDCOMM_WEBHOOK", "TASK_WEBHOOK"]
    error: Annotated[str, "why"]


class TestEvent(TypedDict):
    type: Literal["urn:tnt:webhook-test"]
    uuid: Uuid
    status: Literal["TEST"]


class SignatureWanted(TypedDict):
    """A request to sign. `message` is the bytes to sign, in base64url without padding."""

    did: Did
    message: str
    verificationMethod: Annotated[str, Words(examples=["did:web:acme.example#key-1"])]
    kid: Annotated[str, Words(examples=["did:web:acme.example#key-1"])]
    algorithm: Literal["EdDSA"]


class Signature(TypedDict):
    """A signature: 64 bytes (Ed25519, RFC 8032) in base64url or base64."""

    signature: str


_SIGNED = """Calls are signed as in Standard Webhooks 1.0.0, with the secret shown when the entry was saved. If there is
no 2xx answer within 15 seconds, the service retries, ten times over three days. A call may arrive twice."""

WEBHOOKS: Mapping[str, Webhook] = {
    "DIDCOMM_WEBHOOK": Webhook(
        "A message was received",
        f"Each entry of the setting `DIDCOMM_WEBHOOK` whose `match` fits the message is called once. {_SIGNED}",
        ReceivedMessage,
        {
            "message": {"@type": "https://didcomm.org/basicmessage/1.0/message", "@id": "1", "content": "Hello"},
            "from": "did:web:partner.example",
            "to": "did:web:acme.example",
            "type": "https://didcomm.org/basicmessage/1.0/message",
            "actionUuid": "019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1b",
            "eventUuid": "019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1c",
            "assetUuid": "019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1d",
            "assetDataUuids": [],
            "contactUuid": "019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1e",
            "connectionUuid": "019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1f",
            "sequence": "019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1d",
            "authenticated": True,
        },
    ),
    "TASK_WEBHOOK connection": Webhook(
        "A connection has come to a state", f"Entries of `TASK_WEBHOOK` are called. {_SIGNED}", ConnectionEvent
    ),
    "TASK_WEBHOOK request-didexchange": Webhook(
        "A partner that was asked by its DID has answered",
        f"Entries of `TASK_WEBHOOK` are called. {_SIGNED}",
        ConnectionEvent,
    ),
    "TASK_WEBHOOK answer-invitation": Webhook(
        "Who made an invitation that was accepted has answered",
        f"Entries of `TASK_WEBHOOK` are called. {_SIGNED}",
        ConnectionEvent,
    ),
    "TASK_WEBHOOK contact": Webhook(
        "A contact is accepted, is rejected, or waits", f"Entries of `TASK_WEBHOOK` are called. {_SIGNED}", ContactEvent
    ),
    "TASK_WEBHOOK exchange": Webhook(
        "An exchange changed its state", f"Entries of `TASK_WEBHOOK` are called. {_SIGNED}", ExchangeEvent
    ),
    "TASK_WEBHOOK credential": Webhook(
        "A credential or a presentation was received or sent",
        f"Entries of `TASK_WEBHOOK` are called. {_SIGNED}",
        CredentialEvent,
    ),
    "TASK_WEBHOOK invitation": Webhook(
        "An invitation was answered by a problem report",
        f"Entries of `TASK_WEBHOOK` are called. {_SIGNED}",
        InvitationEvent,
    ),
    "TASK_WEBHOOK webhook": Webhook(
        "A webhook was disabled", f"Other entries of `TASK_WEBHOOK` are called. {_SIGNED}", WebhookEvent
    ),
    "TASK_WEBHOOK urn:tnt:webhook-test": Webhook(
        "A test of an entry of `TASK_WEBHOOK`", "The call `test` of a setting's entry causes it.", TestEvent
    ),
    "TASK_WEBHOOK delivery": Webhook(
        "A delivery failed for good", f"Entries of `TASK_WEBHOOK` are called. {_SIGNED}", DeliveryEvent
    ),
    "externalSigningUrl": Webhook(
        "A signature is needed",
        "The service calls `PRINCIPAL_SETTINGS.externalSigningUrl` to sign for an identity whose keys "
        "are held elsewhere. "
        "The call is signed like the others. It is not retried; answer within 10 seconds.",
        SignatureWanted,
        answer=Signature,
    ),
}
