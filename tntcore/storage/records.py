"""The stored records: one class per noun, one row per record, all of a principal in its own partition.

A row's key is `<kind>~<uuid>`, so that one noun of one tenant is one range of keys; uuids of version 7 put that range
in order of time. Times are milliseconds since 1970. Columns that hold JSON are text; sealed ones are binary.
"""

from __future__ import annotations

import dataclasses
import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Final, Self, get_type_hints

from tntcore.dids import sov
from tntcore.dids.document import Version
from tntcore.dids.multiformats import encode_verkey
from tntcore.dids.parse import parse_document
from tntcore.dids.peer import KeyNames
from tntcore.errors import DidError
from tntcore.storage.states import (
    ContactStatus,
    CredentialStatus,
    DeliveryStatus,
    ExchangeStatus,
    InvitationStatus,
    MessageStatus,
    PresentationStatus,
    ReplayStatus,
)
from tntcore.storage.tables import Row
from tntcore.storage.transactions import Value
from tntcore.strict_json import reread_json, write_json

MAX_TEXT = 32_000  # UTF-16 code units of a text column; the service takes 32,768
END = "~~"  # `<kind>~~` sorts after every `<kind>~<uuid>`


@dataclass(kw_only=True, slots=True)
class Record:
    """The columns that every record has. `etag` is empty until the row was read."""

    KIND: ClassVar[str]
    TIME: ClassVar[str] = ""
    """The column that lists by time go by; "" where the uuid is of version 7."""

    uuid: str
    status: str = "ACTIVE"
    created_at: int = 0
    updated_at: int = 0
    etag: str = ""

    @classmethod
    def row_key(cls, uuid: str) -> str:
        return f"{cls.KIND}~{uuid}"

    @property
    def key(self) -> str:
        return self.row_key(self.uuid)

    def values(self) -> dict[str, Value]:
        """The columns of a new row, without those that are None or empty.

        Raises:
            ValueError: a text is longer than a column holds.
        """
        return {column: value for column, value in self.changes().items() if value != ""}

    def changes(self) -> dict[str, Value]:
        """The columns for a row that exists. Unlike `values`, it includes empty texts, which clear the column."""
        out: dict[str, Value] = {}
        for name, column, is_json, _ in _columns_of(type(self)):
            value = getattr(self, name)
            if value is None:
                continue
            if is_json:
                value = write_json(value).decode()
            elif isinstance(value, StrEnum):
                value = value.value
            if isinstance(value, str) and len(value) * 2 > MAX_TEXT and _utf_16(value) > MAX_TEXT:
                raise ValueError(f"{self.KIND}: column {column} would have more than {MAX_TEXT} characters")
            out[column] = value
        return out

    @classmethod
    def read(cls, row: Row) -> Self:
        values = row.values
        known: dict[str, Any] = {}
        for name, column, is_json, states in _columns_of(cls):
            if column in values:
                value = reread_json(values[column]) if is_json else values[column]
                # A state that only a newer process knows stays plain text.
                known[name] = states.get(value, value) if states else value
        return cls(uuid=row.key.rpartition("~")[2], etag=row.etag, **known)


def _utf_16(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


_Columns = tuple[tuple[str, str, bool, Mapping[str, StrEnum]], ...]
_known: dict[type[Record], _Columns] = {}


def _columns_of(record: type[Record]) -> _Columns:
    """Returns for each field its name, its column, whether the column holds JSON, and the enum of its states."""
    columns = _known.get(record)
    if columns is None:
        columns = _known[record] = _read_columns(record)
    return columns


def _read_columns(record: type[Record]) -> _Columns:
    hints = get_type_hints(record)
    out = []
    for item in dataclasses.fields(record):
        if item.name in ("uuid", "etag"):
            continue
        head, *rest = item.name.split("_")
        hint = hints[item.name]
        is_json = str(hint).startswith(("dict", "list"))
        states = {one.value: one for one in hint} if isinstance(hint, type) and issubclass(hint, StrEnum) else {}
        out.append((item.name, head + "".join(part.title() for part in rest), is_json, states))
    return tuple(out)


@dataclass(kw_only=True, slots=True)
class Principal(Record):
    """A tenant. Status ACTIVE, SUSPENDED or DELETED. Its uuid is the partition, which has exactly one such record."""

    KIND: ClassVar[str] = "principal"
    display_name: str = ""
    data_key: bytes = b""  # wrapped by the master key
    data_key_version: str = ""
    stored_bytes: int = 0  # an estimate, see `usage`
    limits: dict[str, int] = field(default_factory=dict)  # the principal's own: storedBytes, messagesPerMinute
    months: dict[str, dict[str, int]] = field(default_factory=dict)  # what it did in each month, see `usage`
    flushes: list[str] = field(default_factory=list)  # ids of the latest figures that are in it, see `usage`


@dataclass(kw_only=True, slots=True)
class ApiToken(Record):
    """A subscription key. `hash` is the hash of its text. An empty `scope` means admin. A time of 0 means none."""

    KIND: ClassVar[str] = "api-token"
    name: str = ""
    hash: str = ""
    scope: str = ""
    expires_at: int = 0
    last_used_at: int = 0


@dataclass(kw_only=True, slots=True)
class Operator(Record):
    """A key of an operator. Status ACTIVE or REVOKED. `hash` is the hash of the key's text; `former_hash` is that of
    the text before, which is accepted until `former_until`. `made_by` names who made it. A time of 0 means none.
    """

    KIND: ClassVar[str] = "operator"
    name: str = ""
    role: str = ""
    hash: str = ""
    former_hash: str = ""
    former_until: int = 0
    expires_at: int = 0
    last_used_at: int = 0
    made_by: str = ""


@dataclass(kw_only=True, slots=True)
class Audit(Record):
    """An entry of the audit log. Status STARTED or DONE; see `audit`. `actor` is `{kind, id, name, role}`, `on` the
    object of the act, `trace` the trace id that a failure's answer would have. The uuid begins with the inverted time:
    newest first.
    """

    KIND: ClassVar[str] = "audit"
    act: str = ""
    actor: dict[str, str] = field(default_factory=dict)
    principal: str = ""
    on: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    trace: str = ""


@dataclass(kw_only=True, slots=True)
class Identity(Record):
    """A DID that the principal acts as. `keys` is sealed: see `custody`.

    `keys` and `document` belong to the DID that was made here. If `did` is an external DID, whose keys are elsewhere,
    `own_did` is the DID made here.
    """

    KIND: ClassVar[str] = "identity"
    did: str = ""
    own_did: str = ""
    method: str = ""
    display_name: str = ""
    is_default: bool = False
    keys: bytes = b""
    document: dict[str, Any] = field(default_factory=dict)

    @property
    def own(self) -> str:
        """The DID whose keys are here."""
        return self.own_did or self.did

    @property
    def is_external(self) -> bool:
        """Whether the keys of `did` are kept elsewhere."""
        return bool(self.own_did)

    @property
    def is_reachable(self) -> bool:
        """Whether messages to `did` arrive here."""
        return not self.is_external and self.did.startswith("did:web:")


@dataclass(kw_only=True, slots=True)
class BoundDid(Record):
    """Reserves an external DID for one identity. Its uuid is the DID's `short_hash`, so that a second one collides."""

    KIND: ClassVar[str] = "bound-did"
    identity_uuid: str = ""


@dataclass(kw_only=True, slots=True)
class Contact(Record):
    """A partner. Status REQUESTED, ACCEPTED or REJECTED.

    If `named`, the owner of `did` has proven it; otherwise the tenant wrote it. `claimed_did` is not proven.
    """

    KIND: ClassVar[str] = "contact"
    status: ContactStatus = ContactStatus.REQUESTED
    did: str = ""
    claimed_did: str | None = None
    named: bool | None = None
    display_name: str = ""
    email: str = ""
    internal_ref: str = ""

    @classmethod
    def read(cls, row: Row) -> Contact:
        contact = super(Contact, cls).read(row)
        if contact.did.startswith("did:sov:") and not contact.named:
            contact.claimed_did, contact.did = contact.did, ""
        return contact


@dataclass(kw_only=True, slots=True)
class Connection(Record):
    """The connection of one identity with one contact. `state` is a state of DID Exchange (RFC 0023).

    Our side: `my_*` is the present DID, `next_*` an announced one, `former_*` the one before; messages to any of them
    are read. `introduction` has headers for our messages that tell the other side who `my_did` belongs to, until it has
    written to that DID; in v1 `~service` goes with them. `of_identity`: a request was for the key of the identity's
    public DID, even if an invitation named it.

    Their side: `their_did` and `contact_did` are DIDs that the other side has proven (`connections.names`), or that the
    tenant wrote. `claimed_did` is its unproven claim. Messages go out by `their_document`; `their_key_names` has its
    names for keys where they are not the current ones. `previous_document` is the document before, `announced_document`
    that of the DID it will take next.

    `error` says why the connection is over. `did_method`: of our DIDs, if the tenant chose one. `received`, sealed:
    the invitation that waits for the tenant's answer. Rows older than this rule lack `named`.
    """

    KIND: ClassVar[str] = "connection"
    TIME: ClassVar[str] = "createdAt"
    identity_uuid: str = ""
    identity_did: str = ""
    contact_uuid: str = ""
    contact_did: str = ""
    protocol: str = ""
    role: str = ""
    state: str = "start"
    thid: str = ""
    pthid: str = ""
    invitation_uuid: str = ""
    invited_did: str = ""
    version: Version = "v1"
    my_did: str = ""
    introduction: dict[str, str] = field(default_factory=dict)
    my_document: dict[str, Any] = field(default_factory=dict)
    keys: bytes = b""
    their_did: str = ""
    claimed_did: str | None = None
    named: bool | None = None
    their_document: dict[str, Any] = field(default_factory=dict)
    their_key_names: KeyNames | None = None
    previous_document: dict[str, Any] = field(default_factory=dict)
    announced_document: dict[str, Any] | None = None
    of_identity: bool | None = None
    error: str | None = None
    did_method: str | None = None
    received: bytes = b""
    next_did: str = ""
    next_document: dict[str, Any] = field(default_factory=dict)
    next_keys: bytes = b""
    next_thid: str = ""
    former_did: str = ""
    former_document: dict[str, Any] = field(default_factory=dict)
    former_keys: bytes = b""

    @classmethod
    def read(cls, row: Row) -> Connection:
        connection = super(Connection, cls).read(row)
        if not connection.named and "did:sov:" in (connection.their_did[:8], connection.contact_did[:8]):
            connection._doubt()
        return connection

    def _doubt(self) -> None:
        """Treats a did:sov from an old row as proven only if its document has no other key."""
        self.named = True
        if self.their_did.startswith("did:sov:") and not _is_proven(self.their_did, self.their_document):
            self.claimed_did, self.their_did = self.their_did, ""
        doubtful = self.contact_did.startswith("did:sov:") and self.contact_did != self.their_did
        if doubtful and not _is_proven(self.contact_did, self.previous_document):
            self.contact_did = ""


@dataclass(kw_only=True, slots=True)
class Invitation(Record):
    """An out-of-band invitation made by this service. Status ACTIVE, USED or REVOKED; `keys` and `content` are sealed.
    `threads` has hashes of the threads of attached requests that are answered without a handshake. `did_method`: of our
    DIDs on its connections, if the tenant chose one.
    """

    KIND: ClassVar[str] = "invitation"
    status: InvitationStatus = InvitationStatus.ACTIVE
    invitation_id: str = ""
    form: str = ""
    identity_uuid: str = ""
    identity_did: str = ""
    contact_uuid: str = ""
    multi_use: bool = False
    expires_at: int = 0
    did: str = ""
    keys: bytes = b""
    document: dict[str, Any] = field(default_factory=dict)
    content: bytes = b""
    threads: list[str] = field(default_factory=list)
    did_method: str | None = None

    def status_at(self, now: int) -> InvitationStatus:
        """Returns the status at a time, in milliseconds since 1970: EXPIRED where it is only the time that ended it."""
        over = bool(self.expires_at) and self.expires_at < now
        return InvitationStatus.EXPIRED if over and self.status == InvitationStatus.ACTIVE else self.status


@dataclass(kw_only=True, slots=True)
class Action(Record):
    """A thread."""

    KIND: ClassVar[str] = "action"
    TIME: ClassVar[str] = "updatedAt"
    reference_id: str = ""
    direction: str = ""
    identity_did: str = ""
    contact_did: str = ""
    contact_uuid: str = ""
    connection_uuid: str = ""
    type_status: str = ""
    parent_id: str = ""  # of the invitation that its first message was attached to
    error: bytes = b""  # the problem report, sealed

    def values_of_any_thread(self) -> dict[str, Value]:
        """The columns that can be written without knowing how the thread began."""
        own = ("status", "createdAt", "direction", "error")
        return {column: value for column, value in self.values().items() if column not in own}


@dataclass(kw_only=True, slots=True)
class Message(Record):
    """One DIDComm message. `body` is the sealed plaintext; for a message that could not be opened, the envelope.

    A body too large for a row is in the blob named after the message; `body` is then empty.
    """

    KIND: ClassVar[str] = "message"
    status: MessageStatus = MessageStatus.RECEIVED
    direction: str = ""
    type: str = ""
    version: str = ""
    message_id: str = ""
    action_uuid: str = ""
    contact_uuid: str = ""
    connection_uuid: str = ""
    identity_did: str = ""
    contact_did: str = ""
    authenticated: bool = False
    asset_data: list[str] = field(default_factory=list)
    error: str = ""
    body: bytes = b""


@dataclass(kw_only=True, slots=True)
class AssetData(Record):
    """A value found in an attachment: attachment number `index` of message `message_uuid`."""

    KIND: ClassVar[str] = "asset-data"
    message_uuid: str = ""
    action_uuid: str = ""
    name: str = ""
    format: str = ""
    mime_type: str = ""
    index: int = 0


@dataclass(kw_only=True, slots=True)
class Delivery(Record):
    """One webhook call or outbound message on its way; also the outbox row.

    Status HELD (its connection is not completed), PENDING, DELIVERED, FAILED (no more attempts) or WITHHELD (its
    webhook is disabled). `answer` is the sealed answer of the attempt that succeeded. `replayed_from` is the number of
    attempts made before the manual replay at `replayed_at`. `to_previous`: it goes to the DID that the other side had
    before. `trace` is the `traceparent` of the span that made it.
    """

    KIND: ClassVar[str] = "delivery"
    status: DeliveryStatus = DeliveryStatus.PENDING
    kind: str = ""
    message_uuid: str = ""
    action_uuid: str = ""
    connection_uuid: str = ""
    entry_id: str = ""
    type: str = ""
    task: dict[str, Any] = field(default_factory=dict)
    attempts: int = 0
    next_attempt_at: int = 0
    response_status: int = 0
    duration: int = 0
    error: str = ""
    stranger: bytes | None = None  # of a message on no connection: to whom, sealed
    contact_uuid: str = ""
    answer: bytes | None = None
    replayed_from: int | None = None
    replayed_at: int | None = None
    to_previous: bool | None = None
    trace: str = ""


@dataclass(kw_only=True, slots=True)
class Attempt(Record):
    """A delivery attempt that failed, or was followed by another. Its uuid is `<delivery uuid>.<number>`."""

    KIND: ClassVar[str] = "attempt"
    response_status: int = 0
    duration: int = 0
    error: str = ""
    answer: bytes = b""


@dataclass(kw_only=True, slots=True)
class Setting(Record):
    """A principal's setting; its uuid is its key. `value` is sealed, as it holds secrets. For webhooks that fail,
    `health` has a `webhooks.Health` by entry id.
    """

    KIND: ClassVar[str] = "setting"
    value: bytes = b""
    health: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True, slots=True)
class Replay(Record):
    """A replay of the deliveries in a range of uuids that have one of some statuses. Status ACTIVE or DONE; `position`
    is the uuid to continue from.
    """

    KIND: ClassVar[str] = "replay"
    status: ReplayStatus = ReplayStatus.ACTIVE
    position: str = ""
    end: str = ""
    statuses: list[str] = field(default_factory=list)
    entry_id: str = ""
    replayed: int = 0
    skipped: int = 0


@dataclass(kw_only=True, slots=True)
class Entry(Record):
    """An entry of a thread. Its key comes from the message's `@id`, so that a duplicate collides; `digest` tells
    whether the content differs.
    """

    KIND: ClassVar[str] = "entry"
    message_uuid: str = ""
    digest: str = ""
    deliveries: list[str] = field(default_factory=list)


@dataclass(kw_only=True, slots=True)
class Sent(Record):
    """The thread of a message that we sent on a connection, found by its `@id`."""

    KIND: ClassVar[str] = "sent"
    action_uuid: str = ""


@dataclass(kw_only=True, slots=True)
class HeldMessage(Record):
    """A message that waits for its connection, in order of `uuid`: `<connection uuid>.<message uuid>`."""

    KIND: ClassVar[str] = "held"
    message_uuid: str = ""
    delivery_uuid: str = ""
    action_uuid: str = ""


@dataclass(kw_only=True, slots=True)
class PendingReuse(Record):
    """An invitation to be answered by reusing a connection, if the other side agrees. Its uuid is that of the `Sent`
    row of the message that asks. `content`, sealed, is `{invitation, contact}`: if the other side does not agree, a new
    connection with that contact begins, `contact_uuid`.
    """

    KIND: ClassVar[str] = "reuse"
    identity_uuid: str = ""
    contact_uuid: str = ""
    content: bytes = b""


@dataclass(kw_only=True, slots=True)
class Attached(Record):
    """A message attached to the invitation `parent_id`. It counts as received once the connection is completed. `body`
    is sealed; its uuid is `<connection uuid>.<uuid>`.
    """

    KIND: ClassVar[str] = "attached"
    parent_id: str = ""
    body: bytes = b""


@dataclass(kw_only=True, slots=True)
class Schema(Record):
    """An AnonCreds schema that an identity published as `schema_id`."""

    KIND: ClassVar[str] = "schema"
    identity_uuid: str = ""
    issuer_id: str = ""
    schema_id: str = ""
    name: str = ""
    version: str = ""
    attributes: list[str] = field(default_factory=list)


@dataclass(kw_only=True, slots=True)
class CredentialDefinition(Record):
    """An AnonCreds credential definition that an identity published. `private` is sealed; if it is too large for a row,
    it is in a blob. If `max_credentials` is set there is a revocation registry, and `issued` of its numbers are taken.
    """

    KIND: ClassVar[str] = "credential-definition"
    identity_uuid: str = ""
    issuer_id: str = ""
    credential_definition_id: str = ""
    schema_id: str = ""
    tag: str = ""
    attributes: list[str] = field(default_factory=list)
    private: bytes = b""
    revocation_registry_id: str = ""
    max_credentials: int = 0
    issued: int = 0


@dataclass(kw_only=True, slots=True)
class RevocationStatus(Record):
    """A published, public status list. Its uuid is `<digest of the registry>.<inverted time>`: newest first."""

    KIND: ClassVar[str] = "revocation-status"
    content: bytes = b""

    @staticmethod
    def uuid_at(digest: str, timestamp: int) -> str:
        return f"{digest}.{10**11 - timestamp:012d}"


@dataclass(kw_only=True, slots=True)
class StatusList(Record):
    """A public list of an identity's revoked credentials. Status ACTIVE or FULL; its uuid is `<identity
    uuid>.<number>`. `taken` places are assigned; `signed` is the published list.
    """

    KIND: ClassVar[str] = "status-list"
    identity_uuid: str = ""
    number: int = 0
    type: str = ""
    taken: int = 0
    bits: bytes = b""
    signed: bytes = b""


@dataclass(kw_only=True, slots=True)
class Context(Record):
    """A JSON-LD context that the tenant gave for a URL; its uuid is derived from the URL. `body` is the sealed
    document; a large one is in a blob named after the uuid.
    """

    KIND: ClassVar[str] = "context"
    TIME: ClassVar[str] = "createdAt"
    url: str = ""
    body: bytes = b""

    @staticmethod
    def uuid_of(url: str) -> str:
        return str(uuid.UUID(short_hash(url)))


@dataclass(kw_only=True, slots=True)
class LinkSecret(Record):
    """The link secret that binds AnonCreds credentials to their holder, sealed: one per principal, never shown to
    anybody.
    """

    KIND: ClassVar[str] = "link-secret"
    value: bytes = b""


@dataclass(kw_only=True, slots=True)
class Exchange(Record):
    """One run of issue-credential or present-proof. Its uuid is its action's: an exchange is a thread.

    Status ACTIVE, WAITING (for the tenant's decision), DONE or ABANDONED; `state` is one of the RFC's. `messages` has
    the uuid of the latest stored message of each step. `secret` is data that its format needs again. `more` is the
    number of credentials that may still be requested. `call` marks the latest call with an idempotency key that took a
    step.
    """

    KIND: ClassVar[str] = "exchange"
    TIME: ClassVar[str] = "createdAt"
    status: ExchangeStatus = ExchangeStatus.ACTIVE
    protocol: str = ""
    role: str = ""
    state: str = "start"
    thid: str = ""
    format: str = ""
    identity_uuid: str = ""
    connection_uuid: str = ""
    contact_uuid: str = ""
    messages: dict[str, str] = field(default_factory=dict)
    secret: bytes = b""
    credentials: list[str] = field(default_factory=list)
    more: int = 0
    presentations: list[str] = field(default_factory=list)
    error: str = ""
    call: str = ""


@dataclass(kw_only=True, slots=True)
class Credential(Record):
    """A credential that was received or issued. Status HELD, RECEIVED (not accepted yet), REJECTED, ISSUED or REVOKED.

    `details` is `{summary, checks, required}` and `body` is `{value, secret}`, both sealed; a large body is in a blob
    named after the uuid. `notice` is `{comment}`, sealed, from the issuer's notification of revocation at `noticed_at`.
    """

    KIND: ClassVar[str] = "credential"
    status: CredentialStatus = CredentialStatus.RECEIVED
    role: str = ""
    format: str = ""
    attachment_format: str = ""
    exchange_uuid: str = ""
    identity_uuid: str = ""
    connection_uuid: str = ""
    contact_uuid: str = ""
    message_uuid: str = ""
    verified: bool = False
    expires_at: int = 0
    details: bytes = b""
    noticed_at: int = 0
    notice: bytes = b""
    body: bytes = b""


@dataclass(kw_only=True, slots=True)
class Presentation(Record):
    """A presentation that was received or sent; its value is in the message. Status VERIFIED, REJECTED, UNDECIDED,
    ACCEPTED or SENT. `details` is as in `Credential`.
    """

    KIND: ClassVar[str] = "presentation"
    status: PresentationStatus = PresentationStatus.UNDECIDED
    role: str = ""
    format: str = ""
    exchange_uuid: str = ""
    identity_uuid: str = ""
    connection_uuid: str = ""
    contact_uuid: str = ""
    message_uuid: str = ""
    verified: bool = False
    details: bytes = b""


@dataclass(kw_only=True, slots=True)
class ShownPresentation(Record):
    """Marks a presentation as received and not refused. Its uuid is the `short_hash` of its `Verified.mark`, so a copy
    collides.
    """

    KIND: ClassVar[str] = "shown"
    presentation_uuid: str = ""
    exchange_uuid: str = ""


def _is_proven(did: str, document: dict[str, Any]) -> bool:
    """Whether the document belongs to this did:sov, and the DID is derived from its only key."""
    try:
        read = parse_document(document, did)
    except DidError:
        return False
    keys = {encode_verkey(method.key) for method in read.methods.values() if method.key.curve == "Ed25519"}
    return len(keys) == 1 and sov.is_of_key(did, keys.pop())


ANSWERS: Final = "idempotency"
"""The kind of the rows that hold answers to requests with an Idempotency-Key."""
ANSWER_KEPT: Final = 24 * 3_600_000
"""Milliseconds."""


def short_hash(text: str | bytes) -> str:
    """Returns 32 hexadecimal characters, for use in a key in place of a text that is too long or has forbidden
    characters.
    """
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()[:32]


def entry_id(action_uuid: str, direction: str, message_id: str) -> str:
    return f"{action_uuid}.{direction}.{short_hash(message_id)}"


def sent_id(connection_uuid: str, message_id: str) -> str:
    return f"{connection_uuid}.{short_hash(message_id)}"
