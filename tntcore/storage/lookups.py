"""What must be found before it is known whose it is: recipient keys, api tokens, public identities, invitations.

Written before the commit that makes it matter. What is found is cached; that something is not there never is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tntcore.caching import SPREAD, SharedCache
from tntcore.storage.records import short_hash
from tntcore.storage.tables import Table

Kind = Literal["key", "token", "identity", "invitation", "invitation-id"]
Owner = Literal["connection", "identity", "invitation", "token"]
_ROW = "lookup"


@dataclass(frozen=True, slots=True)
class Found:
    """Whose it is: a record of `principal`, of kind `owner`."""

    principal: str
    owner: Owner
    uuid: str


class Lookups:
    """
    Args:
        now: monotonic seconds.
        seconds: how long what was found may be believed by this process after it was deleted by another.
    """

    def __init__(self, table: Table, now: Callable[[], float], *, capacity: int = 50_000, seconds: float = 60) -> None:
        self._table = table
        self._seconds = seconds
        self._cache: SharedCache[Found | None] = SharedCache(now, capacity, SPREAD)

    async def find(self, kind: Kind, name: str) -> Found | None:
        """`name` is a verkey or kid, an api token's hash, the uuid of an identity or invitation, or an invitation's
        `@id`."""
        found = self._cache.peek(kind + name)
        return found or await self._cache.get(kind + name, lambda: self._load(kind, name))

    def is_cached(self, kind: Kind, name: str) -> bool:
        """Whether `find` answers without a storage call."""
        return self._cache.peek(kind + name) is not None

    async def _load(self, kind: Kind, name: str) -> tuple[Found | None, float]:
        row = await self._table.get(_partition(kind, name), _ROW)
        if row is None or row.values.get("name") != name:
            return None, 0
        return Found(row.values["principal"], row.values["owner"], row.values["uuid"]), self._seconds

    async def add(self, kind: Kind, name: str, found: Found) -> bool:
        """False if the name is somebody's already."""
        return await self._table.create(
            _partition(kind, name),
            _ROW,
            {"name": name, "principal": found.principal, "owner": found.owner, "uuid": found.uuid},
        )

    async def remove(self, kind: Kind, name: str, owner_uuid: str) -> None:
        """Forgets the name if it is that owner's: one record may have taken over another's keys, but not their names.

        Called after the commit by which the owner is gone.
        """
        row = await self._table.get(_partition(kind, name), _ROW)
        if row is not None and (row.values.get("name"), row.values.get("uuid")) == (name, owner_uuid):
            await self._table.delete(row.partition, row.key, row.etag)
        self._cache.drop(kind + name)


def _partition(kind: Kind, name: str) -> str:
    return f"{kind}~{short_hash(name)}"
