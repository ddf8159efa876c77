"""Wraps every tenant's data key again after a rotation of the master key, while the service runs.

Data keys do not change, so sealed data does not change and other processes notice nothing. Until all are rewrapped, and
for `vault.LATEST_SECONDS` after, the older versions of the master key must stay.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from tntcore.keys.custody import Custody, CustodyError
from tntcore.storage.commit import Unit
from tntcore.storage.records import END, Principal
from tntcore.storage.retrying import retrying
from tntcore.storage.storage import Storage
from tntcore.tenancy.operators import HOME
from tntcore.tenancy.tenants import PRINCIPALS, wrapped_key

log = logging.getLogger(__name__)

_PAGE = 200
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """The result for one page of tenants.

    Attributes:
        rewrapped: how many data keys were moved to the current version.
        unchanged: how many were under it already.
        failed: by principal, the code of the `CustodyError`: no version of the master key unwraps its data key.
        next: where the following page starts, None at the end.
    """

    rewrapped: int
    unchanged: int
    failed: Mapping[str, str]
    next: str | None


async def rewrap(storage: Storage, custody: Custody, start: str = "", limit: int = _PAGE) -> Rewrapped:
    """Rewraps the data keys of the next `limit` tenants from `start` on. May be repeated at any time.

    Raises:
        azure-core's `AzureError`: storage or vault do not answer. Finished tenants stay done; begin again at `start`.
    """
    page = await storage.lookups.scan(PRINCIPALS, start, END, limit=limit)
    slots = asyncio.Semaphore(_AT_ONCE)
    failed: dict[str, str] = {}

    async def one(uuid: str) -> bool:
        async with slots:
            try:
                return await _rewrap(storage, custody, uuid)
            except CustodyError as error:
                log.warning("the data key of principal %s cannot be rewrapped: %s", uuid, error)
                failed[uuid] = error.code
                return False

    done = await asyncio.gather(*(one(row.key) for row in page.rows))
    if not start:
        await one(HOME)
    return Rewrapped(sum(done), len(done) - sum(done) - len(failed), failed, page.next)


async def _rewrap(storage: Storage, custody: Custody, uuid: str) -> bool:
    """Rewraps one principal's data key. Returns False if it was under the current version, or is destroyed."""

    async def attempt() -> bool:
        row = await storage.records.get(uuid, Principal.row_key(uuid))
        if row is None or (old := wrapped_key(row)) is None:
            return False
        new = await custody.rewrap(old, uuid)
        if new is old:
            return False
        unit = Unit()
        unit.merge(Principal.row_key(uuid), {"dataKey": new.ciphertext, "dataKeyVersion": new.version}, row.etag)
        # A deletion meanwhile has destroyed the key, which must not come back.
        await storage.committer.commit(uuid, unit)
        return True

    return await retrying(attempt)
