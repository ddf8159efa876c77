"""Shapes of request and response bodies about exchanges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from tntcore.api.actions import Between
from tntcore.api.invitations import InvitationWanted
from tntcore.api.json_schema import Code, Words
from tntcore.api.views import ByConnection, ByContact, Entity, JsonObject, Timed, Uuid, entity, text
from tntcore.credentials.formats import Attribute
from tntcore.errors import Problem
from tntcore.messaging.types import DIDCOMM_ORG
from tntcore.protocols import issue_credential, present_proof
from tntcore.storage.records import Exchange
from tntcore.storage.states import ExchangeStatus

MAX_ATTRIBUTES = 500
_VERSIONS = ("1.0", "2.0", "3.0")


class Preview(TypedDict):
    name: str
    value: str | int
    mimeType: NotRequired[str]


_Number = Annotated[int, Words(minimum=0, maximum=10_000), Code("number-invalid")]
_Flag = Annotated[bool, Code("flag-invalid")]


class ProofMembers(TypedDict, total=False):
    """Members of a credential protocol's message, besides its attachment."""

    comment: str
    goalCode: str
    replacementId: str
    multipleAvailable: _Number
    moreAvailable: _Number
    willConfirm: _Flag
    presentMultiple: _Flag
    lastPresentation: _Flag


class Members(ProofMembers, total=False):
    attributes: Annotated[dict[str, str | int] | list[Preview], Code("attributes-invalid")]


class BeginningOfProof(ProofMembers, Between, total=False):
    """Starts an exchange (`to`), continues one (`exchangeUuid`), or puts it into an invitation (`invitation`)."""

    format: str
    data: JsonObject
    protocol: Annotated[str, "such as `issue-credential/2.0`; by default the newest that the connection supports"]
    exchangeUuid: Uuid
    invitation: InvitationWanted
    referenceID: Annotated[str, "the DIDComm thread id"]


class Beginning(BeginningOfProof, Members, total=False):
    pass


class Acceptance(Members):
    """The next step. `data` is the content of the next message, if the default content is not wanted."""

    data: NotRequired[JsonObject]
    credentials: NotRequired[
        Annotated[JsonObject, "for a presentation: the credentials to show, by the candidates' names"]
    ]


class Refusal(TypedDict):
    reason: NotRequired[str]


ExchangeRole = Literal[issue_credential.Role, present_proof.Role]
ExchangeState = Literal[issue_credential.State, present_proof.State]


class ProofRequestQuery(Timed, ByContact, ByConnection, total=False):
    status: ExchangeStatus
    state: Annotated[present_proof.State, "in the RFC's words"]
    role: present_proof.Role


class ExchangeQuery(Timed, ByContact, ByConnection, total=False):
    status: ExchangeStatus
    state: Annotated[ExchangeState, "in the RFC's words"]
    role: ExchangeRole
    protocol: Annotated[str, "its URI"]
    thread: Annotated[str, "its thread id"]


class ExchangeView(Entity):
    """A run of issue-credential or present-proof. WAITING: it waits for your decision. Its uuid is its action's."""

    status: ExchangeStatus
    actionUuid: Uuid
    protocol: Annotated[str, Words(examples=["https://didcomm.org/issue-credential/2.0"])]
    role: ExchangeRole
    state: Annotated[str, "state as named in the RFC", Words(examples=["offer-sent"])]
    thid: str
    format: str | None
    identityUuid: Uuid
    connectionUuid: str
    contactUuid: str
    messages: Annotated[dict[str, str], "uuid of the latest message of each step"]
    credentialUuids: list[Uuid]
    presentationUuids: list[Uuid]
    error: Annotated[str | None, "why it waits, or why it ended"]


class Candidate(TypedDict):
    name: str
    required: bool
    credentials: list[Uuid]


class Candidates(TypedDict):
    candidates: list[Candidate]


def view(exchange: Exchange) -> dict[str, Any]:
    return entity(
        exchange,
        actionUuid=exchange.uuid,
        protocol=exchange.protocol,
        role=exchange.role,
        state=exchange.state,
        thid=exchange.thid,
        format=exchange.format or None,
        identityUuid=exchange.identity_uuid,
        connectionUuid=exchange.connection_uuid,
        contactUuid=exchange.contact_uuid,
        messages=exchange.messages,
        credentialUuids=exchange.credentials,
        presentationUuids=exchange.presentations,
        error=exchange.error or None,
    )


def members_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Reads the members of the message from a request's body, as a protocol's `build` takes them. Raises `Problem`
    400."""
    members: dict[str, Any] = {}
    for name, member in (("comment", "comment"), ("goalCode", "goal_code"), ("replacementId", "replacement_id")):
        if name in body:
            members[member] = text(body[name], name)
    for name, member in (("multipleAvailable", "multiple_available"), ("moreAvailable", "more_available")):
        if name in body:
            if type(body[name]) is not int or not 0 <= body[name] <= 10_000:
                raise Problem(400, "number-invalid", f"{name} must be a whole number from 0 to 10000.")
            members[member] = body[name]
    for name, member in (
        ("willConfirm", "will_confirm"),
        ("presentMultiple", "present_multiple"),
        ("lastPresentation", "last_presentation"),
    ):
        if name in body:
            if not isinstance(body[name], bool):
                raise Problem(400, "flag-invalid", f"{name} must be true or false.")
            members[member] = body[name]
    if "attributes" in body:
        members["preview"] = _attributes(body["attributes"])
    return members


def _attributes(value: Any) -> list[Attribute]:
    """`{name: value}`, or `[{name, value, mimeType?}]`."""
    if isinstance(value, dict):
        value = [{"name": name, "value": one} for name, one in value.items()]
    if not isinstance(value, list) or len(value) > MAX_ATTRIBUTES:
        raise Problem(
            400, "attributes-invalid", f"attributes must be an object or a list, with at most {MAX_ATTRIBUTES} entries."
        )
    out = []
    for one in value:
        one = one if isinstance(one, dict) else {}
        name, content = one.get("name"), one.get("value")
        if isinstance(content, int) and not isinstance(content, bool):
            content = str(content)
        mime_type = one.get("mimeType", "")
        if not (isinstance(name, str) and name and isinstance(content, str) and isinstance(mime_type, str)):
            raise Problem(
                400,
                "attributes-invalid",
                "An attribute is malformed. Each must be {name, value, mimeType?}, all of them strings.",
            )
        out.append(Attribute(name, content, mime_type))
    return out


def prefix_of(body: Mapping[str, Any], protocol: str, version: str) -> str:
    """Returns the URI of the requested protocol version; by default the newest that the connection supports."""
    given = text(body.get("protocol"), "protocol") or f"{protocol}/{'3.0' if version == 'v2' else '2.0'}"
    name, _, number = given.removeprefix(DIDCOMM_ORG).partition("/")
    if name != protocol or number not in _VERSIONS or (number == "3.0" and version == "v1"):
        possible = ", ".join(f"{protocol}/{one}" for one in (_VERSIONS if version == "v2" else _VERSIONS[:2]))
        raise Problem(400, "protocol-unsupported", f"protocol must be one of {possible} on this connection.")
    return f"{DIDCOMM_ORG}{protocol}/{number}"


def object_of(body: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise Problem(400, f"{name}-invalid", f"{name} must be an object.")
    return value


def data_of(body: Mapping[str, Any], name: str = "data") -> dict[str, Any]:
    """Returns a required object of the body. Raises `Problem` 400."""
    data = object_of(body, name)
    if data is None:
        raise Problem(400, f"{name}-missing", f"{name} is missing. It must be an object; /api/docs shows its form.")
    return data
