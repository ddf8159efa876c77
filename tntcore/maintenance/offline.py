"""`backup`, `restore` and `repair` of the command line: with the storage account itself, not by the API.

Settings are the service's own. `other` is the connection string of the account that has a backup's container.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, TypeVar

from tntcore.cloud import Cloud
from tntcore.config import ConfigError, StorageAccount, read_identity, read_storage
from tntcore.maintenance import restore as restoring
from tntcore.maintenance.archive import BackupError, Container, Files, Folder, Generation
from tntcore.maintenance.backup import Told, backup
from tntcore.maintenance.repair import repair
from tntcore.storage import layout
from tntcore.storage.layout import UnusableStorageError
from tntcore.storage.outage import is_away
from tntcore.storage.storage import Storage
from tntcore.telemetry import Meter

T = TypeVar("T")
CONTAINER: Final = "container:"
"""Begins the name of a backup that is in a container of another account."""


class NotDoneError(Exception):
    """An operation that was not done. The text says why, and what to do."""


def run_backup(environ: Mapping[str, str], target: str, other: str, told: Told) -> dict[str, Any]:
    """Raises `NotDoneError`."""

    async def work(storage: Storage, files: Files) -> dict[str, Any]:
        return _shown(await backup(storage, files, storage.host, told))

    return _run(environ, work, target, other)


def run_restore(
    environ: Mapping[str, str], source: str, other: str, told: Told, *, over: bool, check: bool
) -> dict[str, Any]:
    """Args: check: only reads the backup. Raises `NotDoneError`."""
    if check:

        async def look(files: Files) -> dict[str, Any]:
            return _shown((await restoring.verify(files, told))[1][-1])

        return _told_of(lambda: asyncio.run(_with_files(environ, source, other, look)))

    async def work(storage: Storage, files: Files) -> dict[str, Any]:
        done = await restoring.restore(storage, files, storage.clock, over=over, told=told)
        return {**_shown(done.generation), "restoredBefore": done.restored_before, "repaired": asdict(done.repaired)}

    return _run(environ, work, source, other)


def run_repair(environ: Mapping[str, str], told: Told) -> dict[str, Any]:
    """Raises `NotDoneError`."""

    async def work(storage: Storage) -> dict[str, Any]:
        await layout.check(storage)
        return asdict(await repair(storage, storage.clock, told))

    return _told_of(lambda: asyncio.run(_with_storage(environ, work)))


def _run(
    environ: Mapping[str, str], work: Callable[[Storage, Files], Awaitable[dict[str, Any]]], name: str, other: str
) -> dict[str, Any]:
    async def both() -> dict[str, Any]:
        return await _with_files(
            environ, name, other, lambda files: _with_storage(environ, lambda storage: work(storage, files))
        )

    return _told_of(lambda: asyncio.run(both()))


async def _with_storage(environ: Mapping[str, str], work: Callable[[Storage], Awaitable[T]]) -> T:
    async with AsyncExitStack() as stack:
        return await work(_opened(stack, read_storage(environ), environ))


async def _with_files(environ: Mapping[str, str], name: str, other: str, work: Callable[[Files], Awaitable[T]]) -> T:
    if not name.startswith(CONTAINER):
        return await work(Folder(Path(name)))
    if not other:
        raise ConfigError("TNT_BACKUP_STORAGE is missing: the connection string of the account that has the container")
    async with AsyncExitStack() as stack:
        storage = _opened(stack, read_storage({"AzureWebJobsStorage": other}), environ)
        return await work(Container(storage.container(name.removeprefix(CONTAINER))))


def _opened(stack: AsyncExitStack, account: str | StorageAccount, environ: Mapping[str, str]) -> Storage:
    cloud = Cloud(read_identity(environ))
    stack.push_async_callback(cloud.close)
    storage = Storage(account, Meter(0), lambda queue, delay: None, cloud)
    stack.push_async_callback(storage.close)

    def note(_: object, error: BaseException | None, __: object) -> None:
        if error is not None:
            error.add_note(storage.host)

    stack.push(note)
    return storage


def _told_of(work: Callable[[], T]) -> T:
    try:
        return work()
    except ConfigError as error:
        raise NotDoneError(f"{error}.") from None
    except (BackupError, UnusableStorageError) as error:
        raise NotDoneError(str(error)) from None
    except Exception as error:
        if not is_away(error):
            raise
        raise NotDoneError(
            f"Storage does not answer ({type(error).__name__}) at {' or '.join(error.__notes__)}. Check "
            "AzureWebJobsStorage. The same command again goes on where this one ended."
        ) from None


def _shown(generation: Generation) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for file in generation.files:
        counts[file.part] = counts.get(file.part, 0) + file.lines
    return {
        "generation": generation.number,
        "began": generation.began,
        "version": generation.version,
        "layout": generation.layout,
        "copied": counts,
        "masterKeys": list(generation.master_keys),
        "waiting": dict(generation.waiting),
    }
