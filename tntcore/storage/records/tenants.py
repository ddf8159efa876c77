"""Records of a tenant itself: its keys, settings and identities, and the operators and their audit log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from tntcore.storage.records.record import Record
from tntcore.storage.shards import shard_name

_KNOWN: Final = 60_000  # milliseconds after which every process has read a principal's row again


@dataclass(kw_only=True, slots=True)
class Principal(Record):
    """A tenant. Status ACTIVE, SUSPENDED or DELETED. Its uuid is the partition, which has exactly one such record."""

    KIND: ClassVar[str] = "principal"
    display_name: str = ""
    data_key: bytes = b""  # wrapped by the master key
    data_key_version: str = ""
    stored_bytes: int = 0  # an estimate, see `usage`
    limits: dict[str, int] = field(default_factory=dict)  # the principal's own: storedBytes, messagesPerMinute
    shards: int = 1
    shards_before: int = 1  # the number until a minute after `shards_at`, for what is made
    shards_at: int = 0
    months: dict[str, dict[str, int]] = field(default_factory=dict)  # what it did in each month, see `usage`
    indexed_at: int = 0  # when it was begun to be seen that all of its records have their pointers; see `Indexes`
    filed_at: int = 0  # the same, of their pointers for filters
    flushes: list[str] = field(default_factory=list)  # ids of the latest figures that are in it, see `usage`

    def shards_for_new(self, now: int) -> int:
        """Returns how many shards new connections are spread over: before all processes know of new shards, one that
        does not would not look there.
        """
        return self.shards if now >= self.shards_at + _KNOWN else self.shards_before

    @property
    def shard_names(self) -> list[str]:
        """The partitions that the tenant has."""
        return [shard_name(self.uuid, number) for number in range(self.shards)]


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
class Setting(Record):
    """A principal's setting; its uuid is its key. `value` is sealed, as it holds secrets. For webhooks that fail,
    `health` has a `webhooks.Health` by entry id.
    """

    KIND: ClassVar[str] = "setting"
    value: bytes = b""
    health: dict[str, Any] = field(default_factory=dict)


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


ANSWERS: Final = "idempotency"
"""The kind of the rows that hold answers to requests with an Idempotency-Key."""
ANSWER_KEPT: Final = 24 * 3_600_000
"""Milliseconds."""
