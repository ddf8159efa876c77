"""Names that lead to their owner: recipient keys, api tokens, public identities, invitations.

A lookup is written before the commit that makes it matter. Names that are found are cached; missing names never are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tntcore.caching import SPREAD, SharedCache
from tntcore.storage.records import short_hash
from tntcore.storage.shards import principal_of
from tntcore.storage.tables import Table
from tntcore.storage.transactions import Value

LookupKind = Literal["key", "token", "identity", "invitation", "invitation-id"]
Owner = Literal["connection", "identity", "invitation", "token"]
_ROW = "lookup"


@dataclass(frozen=True, slots=True)
class Found:
    """The owner of a name: a record of kind `owner`, in the partition `principal` (`storage.shards`).

    Attributes:
        is_open: a connection that anybody could make without being asked for: by an identity or an invitation for
            several.
    """

    principal: str
    owner: Owner
    uuid: str
    is_open: bool = False

    @property
    def tenant(self) -> str:
        """The uuid of the tenant."""
        return principal_of(self.principal)


class Lookups:
    """Finds the owner of a name.

    Args:
        now: monotonic seconds.
        seconds: how long a cached entry may be used after another process deleted it.
    """

    def __init__(self, table: Table, now: Callable[[], float], *, capacity: int = 50_000, seconds: float = 60) -> None:
        self._table = table
        self._seconds = seconds
        self._cache: SharedCache[Found | None] = SharedCache(now, capacity, SPREAD)

    async def find(self, kind: LookupKind, name: str) -> Found | None:
        """Returns the owner of a name. `name` is a verkey or kid, an api token's hash, the uuid of an identity or
        invitation, or an invitation's `@id`.
        """
        found = self._cache.peek(kind + name)
        return found or await self._cache.get(kind + name, lambda: self._load(kind, name))

    def is_cached(self, kind: LookupKind, name: str) -> bool:
        """Whether `find` answers without a storage call."""
        return self._cache.peek(kind + name) is not None

    async def _load(self, kind: LookupKind, name: str) -> tuple[Found | None, float]:
        row = await self._table.get(_partition(kind, name), _ROW)
        if row is None or row.values.get("name") != name:
            return None, 0
        values = row.values
        found = Found(values["principal"], values["owner"], values["uuid"], values.get("open", False))
        return found, self._seconds

    async def add(self, kind: LookupKind, name: str, found: Found) -> bool:
        """Adds a name. Returns False if it has an owner already."""
        values: dict[str, Value] = {
            "name": name,
            "principal": found.principal,
            "owner": found.owner,
            "uuid": found.uuid,
        }
        if found.is_open:
            values["open"] = True
        return await self._table.create(_partition(kind, name), _ROW, values)

    async def remove(self, kind: LookupKind, name: str, owner_uuid: str) -> None:
        """Removes the name if it belongs to this owner: one record may take over another's keys, but not their names.

        Called after the commit that removed the owner.
        """
        row = await self._table.get(_partition(kind, name), _ROW)
        if row is not None and (row.values.get("name"), row.values.get("uuid")) == (name, owner_uuid):
            await self._table.delete(row.partition, row.key, row.etag)
        self._cache.drop(kind + name)


def _partition(kind: LookupKind, name: str) -> str:
    return f"{kind}~{short_hash(name)}"
