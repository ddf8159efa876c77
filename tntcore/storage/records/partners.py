"""Records of partners: contacts, connections and invitations."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tntcore.dids import sov
from tntcore.dids.document import Version
from tntcore.dids.multiformats import encode_verkey
from tntcore.dids.parse import parse_document
from tntcore.dids.peer import KeyNames
from tntcore.errors import DidError
from tntcore.messaging.ids import uuid_at
from tntcore.storage.records.record import Indexed, Record, filed_under, short_hash
from tntcore.storage.states import ABANDONED, COMPLETED, ContactStatus, InvitationStatus
from tntcore.storage.tables import Row


@dataclass(kw_only=True, slots=True)
class Contact(Indexed):
    """A partner. Status REQUESTED, ACCEPTED or REJECTED.

    If `named`, the owner of `did` has proven it; otherwise the tenant wrote it. `claimed_did` is not proven.
    """

    KIND: ClassVar[str] = "contact"
    IN_SHARDS: ClassVar[bool] = True
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

    @property
    def pointer(self) -> str:
        """Names it by its DID. A did:sov that an old row has as proven still finds it; a claim of somebody else does
        not, as anybody can claim a DID any number of times.
        """
        claimed = self.claimed_did or ""
        did = self.did or (claimed if claimed.startswith("did:sov:") and self.named is None else "")
        return f"{Contact.pointers_of(did)}{self.uuid}" if did else ""

    @staticmethod
    def pointers_of(did: str) -> str:
        """Returns the beginning of the pointers of all contacts with this DID."""
        return f"{Contact.KIND}.{short_hash(did)}."

    @property
    def filed(self) -> tuple[str, ...]:
        return (f"{Contact.with_email(self.email)}{self.uuid}",) if self.email else ()

    @staticmethod
    def with_email(email: str) -> str:
        """Returns the beginning of the pointers of all contacts with this address."""
        return f"{Contact.KIND}-email.{short_hash(email)}."


@dataclass(kw_only=True, slots=True)
class Connection(Indexed):
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
    IN_SHARDS: ClassVar[bool] = True
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

    @staticmethod
    def uuid_of(identity_uuid: str, contact_uuid: str) -> str:
        """Returns the uuid of the one connection of an identity with a contact: derived, so that an action needs no
        search.
        """
        digest = hashlib.sha256(f"tnt/connection/{identity_uuid}/{contact_uuid}".encode()).digest()
        value = int.from_bytes(digest[:16], "big") & ~(0xF << 76) & ~(0b11 << 62)
        return str(uuid.UUID(int=value | 8 << 76 | 0b10 << 62))

    @property
    def pointer(self) -> str:
        """Sorts it by the time when it began."""
        return f"{self.KIND}.{uuid_at(self.created_at, self.uuid)}"

    @property
    def filed(self) -> tuple[str, ...]:
        return filed_under(
            uuid_at(self.created_at, self.uuid),
            Connection.with_contact(self.contact_uuid) if self.contact_uuid else "",
            Connection.with_invitation(self.invitation_uuid) if self.invitation_uuid else "",
            "" if self.is_settled else Connection.in_state(self.state),
        )

    @staticmethod
    def with_invitation(invitation_uuid: str) -> str:
        """Returns the beginning of the pointers of all connections that began with the invitation."""
        return f"{Connection.KIND}-invitation.{invitation_uuid}."

    @staticmethod
    def in_state(state: str) -> str:
        """Returns the beginning of the pointers of all connections in a state in which they are not settled."""
        return f"{Connection.KIND}-state.{state}."

    @property
    def entrance(self) -> str:
        """The uuid of the invitation, or of the identity with the public DID, by which the other side came in; it can
        come in there any number of times. The connection's own uuid if our side asked for the connection, or the
        entrance is not known.
        """
        if self.role != "responder":
            return self.uuid
        return self.invitation_uuid or self.identity_uuid

    @property
    def is_settled(self) -> bool:
        """Whether its handshake is over: it is completed, or has ended."""
        return self.state in (COMPLETED, ABANDONED)

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
    IN_SHARDS: ClassVar[bool] = True
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
class PendingReuse(Record):
    """An invitation to be answered by reusing a connection, if the other side agrees. Its uuid is that of the `Sent`
    row of the message that asks. `content`, sealed, is `{invitation, contact}`: if the other side does not agree, a new
    connection with that contact begins, `contact_uuid`.
    """

    KIND: ClassVar[str] = "reuse"
    IN_SHARDS: ClassVar[bool] = True
    identity_uuid: str = ""
    contact_uuid: str = ""
    content: bytes = b""


@dataclass(kw_only=True, slots=True)
class AttachedMessage(Record):
    """A message attached to the invitation `parent_id`. It counts as received once the connection is completed. `body`
    is sealed; its uuid is `<connection uuid>.<uuid>`.
    """

    KIND: ClassVar[str] = "attached"
    IN_SHARDS: ClassVar[bool] = True
    parent_id: str = ""
    body: bytes = b""


def _is_proven(did: str, document: dict[str, Any]) -> bool:
    """Whether the document belongs to this did:sov, and the DID is derived from its only key."""
    try:
        read = parse_document(document, did)
    except DidError:
        return False
    keys = {encode_verkey(method.key) for method in read.methods.values() if method.key.curve == "Ed25519"}
    return len(keys) == 1 and sov.is_of_key(did, keys.pop())
