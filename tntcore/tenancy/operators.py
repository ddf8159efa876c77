"""The operators' keys: made, found, rotated and revoked. They share one partition, which belongs to no tenant.

A key is `tnto_` and 64 characters, which contain the uuid of its record and 32 random bytes. Only a hash of it is
stored.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tntcore.caching import SharedCache
from tntcore.errors import Problem
from tntcore.keys.custody import Custody, CustodyError
from tntcore.storage.commit import Exists, Unit
from tntcore.storage.records import END, Audit, Operator, Principal
from tntcore.storage.repository import Repository
from tntcore.storage.storage import Storage
from tntcore.tenancy.access import OperatorRole

HOME: Final = "operators"
"""The partition of the operators' own records. No tenant has it, because tenants' partitions are uuids."""
PREFIX: Final = "tnto_"
MOST: Final = 1_000
"""Keys that are not revoked."""
OVERLAP: Final = 3_600_000
"""Milliseconds for which the former text of a key that was rotated is taken as well."""
FIRST: Final = "the host's key"
STORAGE: Final = "the storage account"
"""`made_by` of keys that no operator made."""
_GUARD: Final = "first-operator"
_SECONDS: Final = 30.0  # seconds for which another process may accept a key that was revoked in this one
_CACHED: Final = 1_000


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made. `text` is shown once; `hash` is stored."""

    text: str
    hash: str


def new_key(operator_uuid: str, random: Callable[[int], bytes]) -> NewKey:
    """Makes a key for the record of that uuid. `random` must be cryptographically secure."""
    text = PREFIX + base64.urlsafe_b64encode(uuid.UUID(operator_uuid).bytes + random(32)).decode()
    return NewKey(text, hash_of(text))


def owner_of(key: str) -> str | None:
    """Returns the uuid in a key; None if the text is not a key."""
    if not key.startswith(PREFIX) or len(key) != len(PREFIX) + 64:
        return None
    try:
        return str(uuid.UUID(bytes=base64.b64decode(key[len(PREFIX) :], altchars=b"-_", validate=True)[:16]))
    except ValueError:
        return None


def opens(record: Operator, key: str, now: int) -> bool:
    """Whether the text is the record's key. Takes constant time: it does not reveal how much of the text is right."""
    given = hash_of(key)
    former = record.former_hash if record.former_until > now else ""
    return hmac.compare_digest(given, record.hash) | hmac.compare_digest(given, former)


def is_usable(record: Operator, now: int) -> bool:
    return record.status == "ACTIVE" and not 0 < record.expires_at <= now


def hash_of(key: str) -> str:
    """Returns what is stored of a key's text."""
    return hashlib.sha256(key.encode()).hexdigest()


class OperatorKeys:
    """Finds and changes the operators' keys.

    Args:
        now: milliseconds since 1970. clock: seconds, never going back.
        random: cryptographically secure.
    """

    def __init__(
        self,
        storage: Storage,
        now: Callable[[], int],
        clock: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        self._storage = storage
        self._now = now
        self._random = random
        self._known: SharedCache[Operator | None] = SharedCache(clock, _CACHED)

    def is_cached(self, key: str) -> bool:
        """Whether `find` answers without a storage call and finds a record."""
        owner = owner_of(key)
        record = self._known.peek(owner) if owner is not None else None
        return record is not None and opens(record, key, self._now())

    async def find(self, key: str) -> Operator | None:
        """Returns the record that the key opens, whatever its status; None if it opens none."""
        owner = owner_of(key)
        if owner is None:
            return None
        record = self._known.peek(owner) or await self._known.get(owner, lambda: self._load(owner))
        return record if record is not None and opens(record, key, self._now()) else None

    async def _load(self, owner: str) -> tuple[Operator | None, float]:
        record = await self.get(owner)
        return record, _SECONDS if record is not None else 0

    async def get(self, operator_uuid: str) -> Operator | None:
        row = await self._storage.records.get(HOME, Operator.row_key(operator_uuid))
        return None if row is None else Operator.read(row)

    async def all(self) -> Sequence[Operator]:
        """Returns every key, oldest first, revoked ones included."""
        found: list[Operator] = []
        start: str | None = Operator.row_key("")
        while start is not None:
            page = await self._storage.records.scan(HOME, start, Operator.KIND + END, limit=MOST)
            found += [Operator.read(row) for row in page.rows]
            start = page.next
        return found

    def drawn(self, record: Operator, random: Callable[[int], bytes] | None = None) -> NewKey:
        """Gives the record a new key. The caller commits the record and shows the key.

        Args:
            random: fit for secrets; by default the service's own.
        """
        key = new_key(record.uuid, random or self._random)
        record.hash = key.hash
        return key

    async def commit(self, unit: Unit) -> None:
        """Raises `commit.Exists` or `commit.Changed`."""
        await self._storage.committer.commit(HOME, unit)

    def forget(self, operator_uuid: str) -> None:
        """Drops the cached record; called after it was changed."""
        self._known.drop(operator_uuid)

    async def first(
        self,
        name: str,
        expires_at: int,
        operator_uuid: str,
        *,
        anyway: bool = False,
        once: bool = False,
        by: str = FIRST,
        also: Unit | None = None,
        revoking: Callable[[Operator], Awaitable[Audit]] | None = None,
    ) -> FirstKey:
        """Makes an admin's key if there is none that works. A key made this way and never used is replaced: its answer
        may have been lost.

        Args:
            expires_at: milliseconds since 1970, 0 for never.
            anyway: make it even if there is another. once: make it only if no operator ever had one in use.
            by: the means, `FIRST` or `STORAGE`.
            also: operations to commit with it.

        Raises:
            Problem: 409 `operator-exists`.
            commit.Changed, commit.Exists: another call was faster.
        """
        now = self._now()
        guard = await self._storage.records.get(HOME, _GUARD)
        keys = await self.all()
        if once and any(record.last_used_at or record.made_by not in (FIRST, STORAGE) for record in keys):
            raise Problem(
                409,
                "operator-exists",
                "Operators have had keys, and with TNT_FIRST_OPERATOR_ONCE the host's key makes no more of them. "
                "`python -m tntcore operator first --storage --anyway` creates one with the storage account.",
            )
        admins = [record for record in keys if record.role == OperatorRole.ADMIN and is_usable(record, now)]
        unused = [record for record in admins if record.made_by in (FIRST, STORAGE) and not record.last_used_at]
        if len(unused) < len(admins) and not anyway:
            raise Problem(
                409,
                "operator-exists",
                "An operator with the role admin already has a key. Ask this operator for a key "
                "(POST /api/operator). If all keys are lost, "
                "`python -m tntcore operator first --storage --anyway` creates one with the storage account.",
            )
        record = Operator(
            uuid=operator_uuid,
            name=name,
            role=OperatorRole.ADMIN,
            expires_at=expires_at,
            made_by=by,
            created_at=now,
            updated_at=now,
        )
        key = self.drawn(record)
        unit = Unit(list(also.operations) if also is not None else [])
        unit.create(record)
        for old in unused:
            unit.merge(old.key, {"status": "REVOKED", "updatedAt": now})
            if revoking is not None:
                unit.upsert(await revoking(old))
        if guard is None:
            unit.create_row(_GUARD, {"at": now})
        else:
            unit.merge(_GUARD, {"at": now}, guard.etag)
        await self.commit(unit)
        for old in unused:
            self.forget(old.uuid)
        return FirstKey(record, key, unused)


@dataclass(frozen=True, slots=True)
class FirstKey:
    """The result of `OperatorKeys.first`. The keys in `replaced` were never used, and are revoked."""

    record: Operator
    key: NewKey
    replaced: Sequence[Operator]


async def home(storage: Storage, custody: Custody, now: int) -> Repository:
    """Returns the operators' partition as a repository that can seal. Makes its data key when it is first needed.

    Args:
        now: milliseconds since 1970.
    """
    try:
        key = await custody.data_key(HOME)
    except CustodyError as error:
        if error.code != "destroyed":
            raise
        wrapped = await custody.create(HOME)
        # No tenant has this status, so nothing mistakes this row for one.
        row = Principal(uuid=HOME, status="OPERATORS", created_at=now, updated_at=now)
        row.data_key, row.data_key_version = wrapped.ciphertext, wrapped.version
        unit = Unit()
        unit.create(row)
        try:
            await storage.committer.commit(HOME, unit)
        except Exists:
            pass  # another process was faster
        finally:
            custody.forget(HOME)  # the stored one counts
        key = await custody.data_key(HOME)
    return Repository(storage, HOME, key)
