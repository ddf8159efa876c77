"""The layout of the stored data, as one number, and the reasons not to use an account.

The number goes up only when an older version could not read, or would misread, the data that this one writes. New
columns, kinds of rows and members of queue items do not need that. docs/upgrading.md says how it is used.
"""

from __future__ import annotations

from typing import Final

from tntcore.storage.storage import Storage

_WITHOUT_SHARDS: Final = 1
SHARDS: Final = 2
"""The layout of an account in which a tenant has shards."""
LAYOUT: Final = SHARDS
"""The highest layout that this version reads."""
PARTITION: Final = "storage"
"""Partition of the table `lookups`, for the account as a whole."""
_ROW: Final = "layout"
RESTORE: Final = "restore"
"""Row that is there while a restore is under way."""
RESTORED: Final = "restored"
"""Row that names the last backup whose restore is complete."""


class UnusableStorageError(Exception):
    """An account that must not be used as it is. The text says why, and what to do."""


async def check(storage: Storage, *, restoring: bool = False) -> None:
    """Raises what `check_only` raises, and writes down the layout of a new account. Two calls.

    Args:
        restoring: the caller is the restore.
    """
    if not await check_only(storage, restoring=restoring):
        await storage.lookups.create(PARTITION, _ROW, {"layout": _WITHOUT_SHARDS})


async def note_shards(storage: Storage) -> None:
    """Writes down that a tenant has shards, or will have: earlier versions would not find what is in them."""
    await storage.lookups.put(PARTITION, _ROW, {"layout": SHARDS})


async def layout_of(storage: Storage) -> int:
    """Returns the account's layout."""
    row = await storage.lookups.get(PARTITION, _ROW)
    return int(row.values.get("layout", 0)) if row is not None else _WITHOUT_SHARDS


async def check_only(storage: Storage, *, restoring: bool = False) -> bool:
    """Returns whether the account's layout is written down. Changes nothing.

    Raises:
        UnusableStorageError: a newer version has changed the layout, or a restore is not complete.
    """
    row = await storage.lookups.get(PARTITION, _ROW)
    found = row.values.get("layout", 0) if row is not None else _WITHOUT_SHARDS
    if found > LAYOUT:
        raise UnusableStorageError(
            f"The storage account has layout {found}, and this version reads layouts up to {LAYOUT}. Nothing was "
            "changed. Deploy the version that ran last, or a newer one."
        )
    if not restoring and await storage.lookups.get(PARTITION, RESTORE) is not None:
        raise UnusableStorageError(
            "A restore into the storage account is not complete. Nothing was changed. Run the same `restore` command "
            "again until it says that it is done."
        )
    return row is not None
