"""Records of credentials and proofs: definitions, exchanges, and what was issued, held and shown."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import ClassVar, Final

from tntcore.messaging.ids import uuid_at
from tntcore.storage.records.record import Indexed, Record, filed_under, short_hash
from tntcore.storage.states import CredentialStatus, ExchangeStatus, PresentationStatus

OPEN: Final = (ExchangeStatus.ACTIVE, ExchangeStatus.WAITING)
"""Statuses of exchanges that are not over."""


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
    Older rows lack `schema_name`.
    """

    KIND: ClassVar[str] = "credential-definition"
    identity_uuid: str = ""
    issuer_id: str = ""
    credential_definition_id: str = ""
    schema_id: str = ""
    schema_name: str = ""
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
class Exchange(Indexed):
    """One run of issue-credential or present-proof. Its uuid is its action's: an exchange is a thread.

    Status ACTIVE, WAITING (for the tenant's decision), DONE or ABANDONED; `state` is one of the RFC's. `messages` has
    the uuid of the latest stored message of each step. `secret` is data that its format needs again. `more` is the
    number of credentials that may still be requested. `call` marks the latest call with an idempotency key that took a
    step.
    """

    KIND: ClassVar[str] = "exchange"
    IN_SHARDS: ClassVar[bool] = True
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

    @property
    def pointer(self) -> str:
        """Sorts it by the time when it began."""
        return f"{self.KIND}.{uuid_at(self.created_at, self.uuid)}"

    @property
    def filed(self) -> tuple[str, ...]:
        return filed_under(
            uuid_at(self.created_at, self.uuid),
            Exchange.with_contact(self.contact_uuid) if self.contact_uuid else "",
            Exchange.with_thread(self.thid) if self.thid else "",
            Exchange.in_state(self.state),
            Exchange.with_status(self.status) if self.status in OPEN else "",
        )

    @staticmethod
    def with_thread(thid: str) -> str:
        """Returns the beginning of the pointers of all exchanges on threads with this id."""
        return f"{Exchange.KIND}-thread.{short_hash(thid)}."

    @staticmethod
    def in_state(state: str) -> str:
        """Returns the beginning of the pointers of all exchanges in a state of the RFC."""
        return f"{Exchange.KIND}-state.{state}."


@dataclass(kw_only=True, slots=True)
class Credential(Indexed):
    """A credential that was received or issued. Status HELD, RECEIVED (not accepted yet), REJECTED, ISSUED or REVOKED.

    `details` is `{summary, checks, required}` and `body` is `{value, secret}`, both sealed; a large body is in a blob
    named after the uuid. `notice` is `{comment}`, sealed, from the issuer's notification of revocation at `noticed_at`.
    """

    KIND: ClassVar[str] = "credential"
    IN_SHARDS: ClassVar[bool] = True
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

    @property
    def filed(self) -> tuple[str, ...]:
        return filed_under(
            self.uuid,
            Credential.with_contact(self.contact_uuid) if self.contact_uuid else "",
            Credential.with_status(self.status) if self.status == CredentialStatus.RECEIVED else "",
        )


@dataclass(kw_only=True, slots=True)
class Presentation(Indexed):
    """A presentation that was received or sent; its value is in the message. Status VERIFIED, REJECTED, UNDECIDED,
    ACCEPTED or SENT. `details` is as in `Credential`.
    """

    KIND: ClassVar[str] = "presentation"
    IN_SHARDS: ClassVar[bool] = True
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

    @property
    def filed(self) -> tuple[str, ...]:
        return filed_under(
            self.uuid,
            Presentation.with_contact(self.contact_uuid) if self.contact_uuid else "",
            Presentation.with_status(self.status) if self.status == PresentationStatus.UNDECIDED else "",
        )


@dataclass(kw_only=True, slots=True)
class ShownPresentation(Record):
    """Marks a presentation as received and not refused. Its uuid is the `short_hash` of its `Verified.mark`, so a copy
    collides.
    """

    KIND: ClassVar[str] = "shown"
    presentation_uuid: str = ""
    exchange_uuid: str = ""
