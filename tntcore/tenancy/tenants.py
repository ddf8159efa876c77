"""The principals in memory: records, keys and webhooks, cached for a short time while messages are handled."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tntcore.caching import SPREAD, SharedCache
from tntcore.dids import peer
from tntcore.dids.document import DidDocument
from tntcore.errors import DidError
from tntcore.keys.custody import Custody, CustodyError, MissingKey, WrappedKey
from tntcore.storage.indexes import Indexes
from tntcore.storage.outage import is_away
from tntcore.storage.records import ApiToken, Connection, Identity, Invitation, Principal, Record, Setting, short_hash
from tntcore.storage.repository import Repository, WholeRepository
from tntcore.storage.shards import number_of, principal_of, shard_name
from tntcore.storage.storage import Storage
from tntcore.storage.tables import Row
from tntcore.storage.transactions import Value
from tntcore.strict_json import reread_json
from tntcore.tenancy.preferences import EXTERNAL_SIGNING_URL
from tntcore.tenancy.recipients import KeyPairs, Recipient, dids_of, document_id, document_of, verkeys
from tntcore.tenancy.webhooks import EntryHealth, EntrySecrets, WebhookEntry, read_entries

_SECONDS = 30.0  # seconds for which another process may use data that this one changed
_MAX_TENANTS = 5_000
_LOCKED_SECONDS = 10.0  # after which it is looked again whether the master key is back
_MAX_RECIPIENTS = 20_000
_RECIPIENTS_MEMORY = 256 * 1024 * 1024  # bytes; strangers choose how large the documents of connections are
_MAX_TOKENS = 100  # of a tenant

DIDCOMM_WEBHOOK = "DIDCOMM_WEBHOOK"
TASK_WEBHOOK = "TASK_WEBHOOK"
PRINCIPAL_SETTINGS = "PRINCIPAL_SETTINGS"

_RESTS = (30, 120, 300)


def rest(times: int) -> int:
    """Returns the seconds until a suspended tenant's item is looked at again. `times`: how often it was put off."""
    return _RESTS[min(times, len(_RESTS) - 1)]


# Partition of the lookups in which every principal has a row, by its uuid.
PRINCIPALS = "principals"


@dataclass(frozen=True, slots=True)
class Webhooks:
    """A webhook setting: its entries; by entry id, the secrets that sign its calls, and its health if calls fail.

    Attributes:
        successors: by the id of a removed entry, the id of the one that gets its deliveries.
    """

    entries: Sequence[WebhookEntry]
    secrets: Mapping[str, EntrySecrets]
    health: Mapping[str, EntryHealth] = field(default_factory=dict)
    successors: Mapping[str, str] = field(default_factory=dict)

    def entry(self, entry_id: str) -> WebhookEntry | None:
        """Returns the entry that a delivery for `entry_id` goes to: the one with this id, or its successor."""
        by_id = {entry.id: entry for entry in self.entries}
        return by_id.get(entry_id) or by_id.get(self.successors.get(entry_id, ""))

    def is_disabled(self, entry_id: str) -> bool:
        return entry_id in self.health and self.health[entry_id].disabled_at > 0


@dataclass(frozen=True, slots=True)
class Preferences:
    """The setting `PRINCIPAL_SETTINGS`, and the secrets that sign calls of its `externalSigningUrl`."""

    values: Mapping[str, Any]
    signing_secrets: EntrySecrets = field(default_factory=lambda: EntrySecrets(()))


class Tenant:
    """A principal in this process; of one in several shards, one of them, or `whole`.

    Args:
        locked: why nothing can be sealed or opened at the moment; None if it can.
        of_shard: returns the repository of a shard, by its number. Default: there is one shard.

    Attributes:
        records: those of this shard; of `whole`, those of all.
        uuid: the name of this shard (`storage.shards`), for lookups, queue items and the table `due`. It is the uuid of
            the principal unless that is in several.
    """

    def __init__(
        self,
        principal: Principal,
        records: Repository,
        now: Callable[[], float],
        locked: Exception | None = None,
        of_shard: Callable[[int], Repository] | None = None,
    ) -> None:
        self.principal = principal
        self.locked = locked
        self.records = records
        self.uuid = principal.uuid
        self._of_shard = of_shard
        self._shards = {0: self}
        self._webhooks: SharedCache[Webhooks] = SharedCache(now, 4)
        self._preferences: SharedCache[Preferences] = SharedCache(now, 1)
        self._tokens: SharedCache[ApiToken | None] = SharedCache(now, _MAX_TOKENS)

    def shard(self, number: int) -> Tenant:
        """Returns the tenant in one of its shards. It shares what is cached with the others."""
        shards = self._shards
        if number not in shards and self._of_shard is not None:
            shards[number] = self._with(self._of_shard(number), shard_name(self.principal.uuid, number))
        return shards[number]

    @property
    def is_first(self) -> bool:
        """Whether it is in its first shard, or has only one."""
        return self.uuid == self.principal.uuid

    def at(self, record: Record) -> Tenant:
        """Returns the tenant in the shard that the record, which was read, is in."""
        return self.shard(number_of(record.partition)) if self.principal.shards > 1 else self

    @property
    def whole(self) -> Tenant:
        """The tenant in all of its shards."""
        if self.principal.shards == 1:
            return self.shard(0)
        shards = [self.shard(number).records for number in range(self.principal.shards)]
        return self._with(WholeRepository(shards), self.principal.uuid)

    async def birthplace(self, kind: type[Record], uuid: str, now: int) -> Tenant:
        """Returns the tenant in the shard for a new record, and for all that will belong to it. If an earlier attempt
        of the same call made the record, it is the one where that is.

        Args:
            uuid: of the record, drawn for this call alone. now: milliseconds since 1970.
        """
        principal = self.principal
        if principal.shards == 1:
            return self.shard(0)
        before = await self.whole.records.get(kind, uuid)
        if before is not None:
            return self.at(before)
        return self.shard(self.shard_of_new(uuid, now))

    def shard_of_new(self, uuid: str, now: int) -> int:
        """Returns the number of the shard for a new record; always the same for one uuid."""
        return int(short_hash(uuid), 16) % self.principal.shards_for_new(now)

    def _with(self, records: Repository, uuid: str) -> Tenant:
        other = copy.copy(self)
        other.records, other.uuid = records, uuid
        return other

    @property
    def is_suspended(self) -> bool:
        """Whether nothing comes in or goes out, and queued items keep waiting: an operator has suspended the tenant, or
        it is `locked`."""
        return self.locked is not None or self.principal.status == "SUSPENDED"

    async def webhooks(self, key: str) -> Webhooks:
        """Returns the entries of a webhook setting; none if it is not set."""
        return self._webhooks.peek(key) or await self._webhooks.get(key, lambda: self._load_webhooks(key))

    async def token(self, uuid: str) -> ApiToken | None:
        """Returns a subscription key's record, whatever its status."""
        return self._tokens.peek(uuid) or await self._tokens.get(uuid, lambda: self._load_token(uuid))

    async def _load_token(self, uuid: str) -> tuple[ApiToken | None, float]:
        record = await self.records.get(ApiToken, uuid)
        return record, _SECONDS if record is not None else 0

    def token_changed(self, uuid: str) -> None:
        self._tokens.drop(uuid)

    def settings_changed(self, key: str) -> None:
        self._webhooks.drop(key)
        self._preferences.drop(key)

    async def _load_webhooks(self, key: str) -> tuple[Webhooks, float]:
        record = await self.records.get(Setting, key)
        if record is None:
            return Webhooks((), {}), _SECONDS
        stored = self.opened(record)
        entries = tuple(read_entries(stored["setting"]))
        secrets = {entry.id: EntrySecrets.read(stored, entry.id) for entry in entries}
        health = {entry_id: EntryHealth(**state) for entry_id, state in record.health.items()}
        return Webhooks(entries, secrets, health, stored.get("successors", {})), _SECONDS

    async def auto_accept(self) -> bool:
        """Whether connection requests are accepted automatically: `autoAcceptConnections`, on by default."""
        return await self.automatic("autoAcceptConnections", default=True)

    async def automatic(self, name: str, default: bool) -> bool:
        """Whether a step is taken automatically: one of `preferences.AUTOMATIC`; `default` if it is not set."""
        value = (await self.preferences()).values.get(name)
        return value if isinstance(value, bool) else default

    async def preferences(self) -> Preferences:
        """Returns `PRINCIPAL_SETTINGS`; empty if it is not set."""
        key = PRINCIPAL_SETTINGS
        return self._preferences.peek(key) or await self._preferences.get(key, self._load_preferences)

    async def _load_preferences(self) -> tuple[Preferences, float]:
        stored = await self.setting(PRINCIPAL_SETTINGS)
        if stored is None or not isinstance(stored["setting"], dict):
            return Preferences({}), _SECONDS
        return Preferences(stored["setting"], EntrySecrets.read(stored, EXTERNAL_SIGNING_URL)), _SECONDS

    async def setting(self, key: str) -> dict[str, Any] | None:
        """Returns the setting's stored form, see `opened`; None if it is not set."""
        record = await self.records.get(Setting, key)
        return None if record is None else self.opened(record)

    def opened(self, record: Setting) -> dict[str, Any]:
        """Unseals a setting: `{"setting": ..., "secrets": {entry id: [secret]}, "former": {entry id: [{"secrets",
        "until"}]}}`.
        """
        stored: dict[str, Any] = reread_json(self.records.open(record.value, record.key))
        return stored


class Tenants:
    """The principals, and the recipients of their messages.

    Args:
        resolve: a DID's document; raises `DidError`.
        now: monotonic seconds.
        wrote: called with a principal and the number of bytes written for it. counted: called with a principal and
            what was made for it.
    """

    def __init__(
        self,
        storage: Storage,
        custody: Custody,
        resolve: Callable[[str], Awaitable[DidDocument]],
        now: Callable[[], float],
        indexes: Indexes,
        wrote: Callable[[str, int], None],
        counted: Callable[[str, Mapping[str, int]], None] = lambda principal, counts: None,
    ) -> None:
        self._indexes = indexes
        self._wrote = wrote
        self._counted = counted
        self._storage = storage
        self._custody = custody
        self._resolve = resolve
        self._now = now
        self._tenants: SharedCache[Tenant | None] = SharedCache(now, _MAX_TENANTS, SPREAD)
        self._recipients: SharedCache[Recipient | None] = SharedCache(
            now, _MAX_RECIPIENTS, SPREAD, weigh=_weight, budget=_RECIPIENTS_MEMORY
        )

    async def get(self, uuid: str) -> Tenant | None:
        """Returns the principal, which may be suspended, or None if it does not exist (any more).

        Args:
            uuid: its own, for its first shard; or the name of another of its shards.
        """
        if "." in uuid:
            number, first = number_of(uuid), await self.get(principal_of(uuid))
            return first.shard(number) if first is not None and number > 0 else None
        return self._tenants.peek(uuid) or await self._tenants.get(uuid, lambda: self._load(uuid))

    async def _load(self, uuid: str) -> tuple[Tenant | None, float]:
        row = await self._storage.records.get(uuid, Principal.row_key(uuid))
        if row is None:
            return None, 0
        principal = Principal.read(row)
        if principal.status not in ("ACTIVE", "SUSPENDED"):
            return None, 0
        locked: Exception | None = None
        try:
            key = await self._custody.data_key(uuid)
        except Exception as error:
            if not (is_away(error) or (isinstance(error, CustodyError) and error.is_passing)):
                raise
            locked, key = error, MissingKey(error)

        def of_shard(number: int) -> Repository:
            return Repository(
                self._storage,
                uuid,
                key,
                lambda amount: self._wrote(uuid, amount),
                lambda counts: self._counted(uuid, counts),
                number,
                lambda: self._indexes.cover(principal.indexed_at),
                lambda: self._indexes.cover_filters(principal.filed_at),
            )

        # A service that is away may be back at the next call.
        seconds = _SECONDS if locked is None else _LOCKED_SECONDS if isinstance(locked, CustodyError) else 0
        return Tenant(principal, of_shard(0), self._now, locked, of_shard), seconds

    def forget(self, uuid: str) -> None:
        """Drops the cached principal; called after it was changed or deleted."""
        self._tenants.drop(uuid)
        self._custody.forget(uuid)

    async def recipient(self, tenant: Tenant, owner: str, uuid: str) -> Recipient | None:
        """Returns the identity or connection (`owner`) that a key belongs to, or None if it is gone."""
        key = f"{tenant.principal.uuid}/{uuid}"
        return self._recipients.peek(key) or await self._recipients.get(
            key, lambda: self._load_recipient(tenant, owner, uuid)
        )

    async def _load_recipient(self, tenant: Tenant, owner: str, uuid: str) -> tuple[Recipient | None, float]:
        record: Connection | Identity | Invitation | None
        if owner == "connection":
            record = await tenant.records.get(Connection, uuid)
        elif owner == "invitation":
            record = await tenant.records.get(Invitation, uuid)
        else:
            record = await tenant.records.get(Identity, uuid)
        if record is None or not record.keys:
            return None, 0
        # Another process may be about to complete it; this one would then send or refuse wrongly.
        settled = not isinstance(record, Connection) or record.state == "completed"
        return await self.open_recipient(tenant, record), _SECONDS if settled else 0

    async def open_recipient(self, tenant: Tenant, record: Connection | Identity | Invitation) -> Recipient:
        """Unseals the record's keys and parses its documents."""
        keys = KeyPairs.deserialise(tenant.records.open(record.keys, record.key))
        if isinstance(record, Connection):
            document = document_of(record.my_did, record.my_document)
            theirs, previous, announced = (
                document_of(document_id(kept), kept) if kept else None
                for kept in (record.their_document, record.previous_document, record.announced_document)
            )
            if theirs is not None and record.their_key_names and theirs.id.startswith("did:peer:2"):
                theirs = peer.named(theirs, record.their_key_names)
            # A document that is fetched may change.
            if theirs is not None and not theirs.id.startswith(("did:peer:", "did:key:", "did:sov:")):
                theirs, previous = await self._published(theirs.id, theirs, previous)
            secrets = keys.by_kid(document)
            for did, kept, sealed in (
                (record.next_did, record.next_document, record.next_keys),
                (record.former_did, record.former_document, record.former_keys),
            ):
                if sealed:
                    others = KeyPairs.deserialise(tenant.records.open(sealed, record.key))
                    secrets = {**others.by_kid(document_of(did, kept)), **secrets}
            return Recipient(
                scope=record.uuid,
                identity_uuid=record.identity_uuid,
                identity_did=record.identity_did,
                connection=record,
                invitation=None,
                document=document,
                secrets=secrets,
                theirs=theirs,
                previous=previous,
                announced=announced,
                signer=keys.ed25519,
                their_verkeys=verkeys(theirs) | verkeys(previous) | verkeys(announced),
                their_dids=dids_of(theirs) | dids_of(previous),
            )
        document = document_of(record.own if isinstance(record, Identity) else record.did, record.document)
        return Recipient(
            scope=record.uuid,
            identity_uuid=record.uuid if isinstance(record, Identity) else record.identity_uuid,
            identity_did=record.did if isinstance(record, Identity) else record.identity_did,
            connection=None,
            invitation=None if isinstance(record, Identity) else record,
            document=document,
            secrets=keys.by_kid(document),
            theirs=None,
            previous=None,
            announced=None,
            signer=keys.ed25519,
            their_verkeys=frozenset(),
            their_dids=frozenset(),
        )

    async def _published(
        self, did: str, kept: DidDocument | None, previous: DidDocument | None
    ) -> tuple[DidDocument | None, DidDocument | None]:
        """Returns the document as its owner publishes it now, and the one before. It may change at any
        time.
        """
        try:
            published = await self._resolve(did)
        except DidError:
            return kept, previous
        return published, kept if kept is not None and kept.raw != published.raw else previous

    def forget_recipient(self, tenant: Tenant, uuid: str) -> None:
        """Drops the cached recipient; called after the connection, invitation or identity was changed or deleted."""
        self._recipients.drop(f"{tenant.principal.uuid}/{uuid}")


def _weight(_key: str, recipient: Recipient | None) -> int:
    """Returns about how many bytes of memory the documents of a recipient take."""
    if recipient is None:
        return 0
    documents = (recipient.document, recipient.theirs, recipient.previous, recipient.announced)
    return sum(document.weight() for document in documents if document is not None)


def index_columns(principal: Principal) -> dict[str, Value]:
    """The columns of its row in `PRINCIPALS`."""
    return {
        "createdAt": principal.created_at,
        "displayName": principal.display_name,
        "status": principal.status,
    }


def wrapped_key(row: Row) -> WrappedKey | None:
    """Returns the data key in a principal's row; None if it was destroyed."""
    if not row.values.get("dataKey"):
        return None
    return WrappedKey(row.values["dataKeyVersion"], row.values["dataKey"])


def stored_data_key(storage: Storage) -> Callable[[str], Awaitable[WrappedKey | None]]:
    """Returns a function for `Custody` that reads a principal's wrapped data key from the principal's row."""

    async def load(uuid: str) -> WrappedKey | None:
        row = await storage.records.get(uuid, Principal.row_key(uuid))
        return None if row is None else wrapped_key(row)

    return load
