"""Copies everything that is stored into a backup while the service runs. docs/decisions/0015 explains the order.

Nothing in the account is changed. Rows pass through memory a file at a time. A backup that was killed
goes on behind the last file that its `progress.json` has.
"""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final
from uuid import uuid4

import orjson

from tntcore.maintenance import archive
from tntcore.maintenance.archive import BackupError, File, Files, Generation, Index
from tntcore.storage import layout
from tntcore.storage.blobs import Blobs
from tntcore.storage.layout import layout_of
from tntcore.storage.records import END, AttachedMessage, Delivery, HeldMessage, PendingReuse, Replay
from tntcore.storage.storage import EXCHANGE, INBOUND, Storage
from tntcore.storage.tables import Table
from tntcore.version import VERSION

MARGIN: Final = 300_000
"""Milliseconds by which clocks of the storage service may differ: rows written since a time are looked for from so much
earlier on."""
FILE = 8 * 1024 * 1024  # bytes of lines, from which on a file is written
_LISTED = 500  # blobs in one call
_AT_ONCE = 8  # blobs that are read
_MOST_FILES = 500  # that `progress.json` names: it is rewritten for each of them
CAUSES = (AttachedMessage, Delivery, HeldMessage, PendingReuse, Replay)
"""The rows that cause something to happen. They are copied last: if a backup has only a part of a commit, the commit
then counts as not handled yet, instead of as handled."""

Told = Callable[[str, int], None]
"""Is told which part is under way, and how many rows, blobs or queue messages of it were copied since the last call."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of a part. `next`: where to go on behind them; None where that is not possible."""

    lines: Sequence[bytes]
    next: Any = None


WritePart = Callable[["_Run", Any], AsyncIterator[Lines]]


@dataclass(slots=True)
class _Progress:
    """The content of `progress.json`.

    Attributes:
        backup: the id of the backup it is of.
        since: what was written from this time on is copied; 0 for all.
        part: the one under way. position: where in it to go on; None at its beginning.
        clocks: when each part began. counts: files of each part.
        files: the latest ones. lists: how many files name those before, `_MOST_FILES` each: `archive.list_of`.
    """

    number: int
    began: int
    since: int
    backup: str = ""
    part: str = ""
    position: Any = None
    files: list[dict[str, Any]] = field(default_factory=list)
    clocks: dict[str, int] = field(default_factory=dict)
    master_keys: list[str] = field(default_factory=list)
    waiting: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    lists: int = 0

    @staticmethod
    def read(data: bytes) -> _Progress:
        """Raises `KeyError`, `TypeError` or `ValueError` for what is none."""
        progress = _Progress(**orjson.loads(data))
        if not progress.lists:
            # Version 0.1 had no counts, and named all files.
            progress.counts = dict(Counter(file["part"] for file in progress.files))
        if progress.part and progress.part not in _PARTS:
            raise ValueError(progress.part)
        return progress


@dataclass(slots=True)
class _Run:
    storage: Storage
    progress: _Progress


async def backup(storage: Storage, files: Files, account: str, told: Told = lambda part, count: None) -> Generation:
    """Adds a generation to the backup, or completes the one that was begun.

    Args:
        account: names the storage account, so that none is added to the backup of another.

    Raises:
        BackupError: the files are no backup of this account.
        UnusableStorageError: a newer version has changed the layout, or a restore into the account is not complete.
    """
    await layout.check_only(storage)
    kept = await archive.read_index(files)
    index = kept or Index(str(uuid4()), account)
    if index.account != account:
        raise BackupError(f"The backup there is of the account {index.account}, not {account}. Use another folder.")
    progress = await _progress(storage, files, index)
    if kept is None:
        await files.write(archive.INDEX, index.write())
    run = _Run(storage, progress)
    begun = progress.part
    for name, part in _PARTS.items():
        if begun and name != begun:
            continue
        begun = ""
        if progress.part != name:
            progress.part, progress.position = name, None
            progress.clocks[name] = await storage.records.clock()
            await _keep(files, progress)
        await _copy(run, files, part, told)
    written = [file for number in range(progress.lists) for file in await _list(files, progress.number, number)]
    generation = Generation(
        number=progress.number,
        began=progress.began,
        layout=await layout_of(storage),
        version=VERSION,
        files=[File(**file) for file in (*written, *progress.files)],
        master_keys=progress.master_keys,
        waiting=progress.waiting,
    )
    data = generation.write()
    await files.write(archive.manifest_of(progress.number), data)
    index.manifests.append(archive.digest(data))
    await files.write(archive.INDEX, index.write())
    return generation


async def _progress(storage: Storage, files: Files, index: Index) -> _Progress:
    number = len(index.manifests) + 1
    kept = await files.read(archive.progress_of(number))
    if kept is not None:
        try:
            begun = _Progress.read(kept)
        except (KeyError, TypeError, ValueError):
            raise BackupError(
                f"This version cannot go on with the backup that another version began: it cannot read "
                f"{archive.progress_of(number)}. Delete that file to begin this generation anew, or use the version "
                "that began it."
            ) from None
        if begun.backup == index.id:
            return begun
    before = await archive.read_generation(files, index, number - 1) if index.manifests else None
    since = before.began - MARGIN if before is not None else 0
    # Versions named before still wrap keys in the earlier generations.
    keys = list(before.master_keys) if before is not None else []
    return _Progress(number, await storage.records.clock(), since, index.id, master_keys=keys)


async def _keep(files: Files, progress: _Progress) -> None:
    if len(progress.files) >= _MOST_FILES:
        await files.write(archive.list_of(progress.number, progress.lists), orjson.dumps(progress.files))
        progress.lists += 1
        progress.files = []
    await files.write(archive.progress_of(progress.number), orjson.dumps(asdict(progress)))


async def _list(files: Files, generation: int, number: int) -> list[dict[str, Any]]:
    name = archive.list_of(generation, number)
    data = await files.read(name)
    if data is None:
        raise BackupError(
            f"{name} is missing, so the backup cannot be completed. Delete {archive.progress_of(generation)} and run "
            "the same command again: it begins this generation anew."
        )
    listed: list[dict[str, Any]] = orjson.loads(data)
    return listed


async def _copy(run: _Run, files: Files, part: WritePart, told: Told) -> None:
    """Copies the rest of the part under way."""
    progress = run.progress
    waiting: list[bytes] = []
    written: list[File] = []
    size = 0

    async def flush() -> None:
        nonlocal size
        number = progress.counts.get(progress.part, 0) + len(written)
        name = f"{progress.number:06d}/{progress.part}-{number:06d}.jsonl.gz"
        data = archive.packed(waiting)
        await files.write(name, data)
        written.append(File(name, progress.part, len(waiting), archive.digest(data)))
        waiting.clear()
        size = 0

    def note() -> None:
        progress.files += map(asdict, written)
        progress.counts[progress.part] = progress.counts.get(progress.part, 0) + len(written)
        written.clear()

    async for lines in part(run, progress.position):
        for line in lines.lines:
            waiting.append(line)
            size += len(line)
            if size >= FILE:
                await flush()
        told(progress.part, len(lines.lines))
        if lines.next is not None and (written or size >= FILE // 2):
            if waiting:
                await flush()
            note()
            progress.position = lines.next
            await _keep(files, progress)
    if waiting:
        await flush()
    note()


def _rows(table: Callable[[Storage], Table], *, all_of_it: bool = False) -> WritePart:
    """Yields the rows of a table that were written since the previous generation."""

    async def read(run: _Run, position: Any) -> AsyncIterator[Lines]:
        async for lines in _walk(table(run.storage), position, 0 if all_of_it else run.progress.since, run):
            yield lines

    return read


async def _walk(
    table: Table, position: Any, since: int, run: _Run, keys: tuple[str, str] | None = None
) -> AsyncIterator[Lines]:
    while True:
        page = await table.walk(position, since=since, keys=keys)
        position = page.next
        for row in page.rows:
            version = row.values.get("dataKeyVersion")
            if version and version not in run.progress.master_keys:
                run.progress.master_keys.append(version)
        yield Lines([archive.row_line(row) for row in page.rows], position)
        if position is None:
            return


def _keys(table: Callable[[Storage], Table]) -> WritePart:
    """Yields the keys of all rows of a table. A restore learns from them what was deleted."""

    async def read(run: _Run, position: Any) -> AsyncIterator[Lines]:
        while True:
            page = await table(run.storage).walk(position, columns=())
            position = page.next
            yield Lines([orjson.dumps([row.partition, row.key]) for row in page.rows], position)
            if position is None:
                return

    return read


def _changed(after: str) -> WritePart:
    """Yields the records that were written since the part `after` began."""

    async def read(run: _Run, position: Any) -> AsyncIterator[Lines]:
        async for lines in _walk(run.storage.records, position, run.progress.clocks[after] - MARGIN, run):
            yield lines

    return read


async def _causes(run: _Run, position: Any) -> AsyncIterator[Lines]:
    number, place = position or (0, None)
    since = run.progress.clocks["records-changed"] - MARGIN
    for kind in CAUSES[number:]:
        async for lines in _walk(run.storage.records, place, since, run, (kind.row_key(""), kind.KIND + END)):
            yield Lines(lines.lines, (number, lines.next) if lines.next else None)
        number, place = number + 1, None


def _blobs(container: Callable[[Storage], Blobs], *, all_of_it: bool = False) -> WritePart:
    """Yields the blobs of a container that were written since the previous generation."""

    async def read(run: _Run, position: Any) -> AsyncIterator[Lines]:
        blobs = container(run.storage)
        since = 0 if all_of_it else run.progress.since
        while True:
            page = await blobs.page(position, _LISTED)
            new = [blob for blob in page.blobs if blob.modified >= since]
            for begin in range(0, len(new), _AT_ONCE):
                some = new[begin : begin + _AT_ONCE]
                contents = await asyncio.gather(*(blobs.get(blob.name) for blob in some))
                yield Lines(
                    [
                        archive.blob_line(blob.name, blob.metadata, content)
                        for blob, content in zip(some, contents, strict=True)
                        if content is not None
                    ]
                )
            if page.next is None:
                return
            position = page.next
            yield Lines([], position)

    return read


async def _names(run: _Run, position: Any) -> AsyncIterator[Lines]:
    """Yields the names of all bodies."""
    while True:
        page = await run.storage.bodies.page(position, 5000)
        position = page.next
        yield Lines([orjson.dumps(["", blob.name]) for blob in page.blobs], position)
        if position is None:
            return


async def _queued(run: _Run, position: Any) -> AsyncIterator[Lines]:
    """Yields messages that wait to be handled for the first time. Those of other queues can be made from records."""
    for name in (INBOUND, EXCHANGE):
        messages, number = await run.storage.queues[name].peek()
        if number > len(messages):
            run.progress.waiting[name] = number - len(messages)
        yield Lines([orjson.dumps([name, base64.b64encode(message).decode()]) for message in messages])


def _records(storage: Storage) -> Table:
    return storage.records


def _lookups(storage: Storage) -> Table:
    return storage.lookups


# In this order; docs/decisions/0015 says why.
_PARTS: Mapping[str, WritePart] = {
    "queues": _queued,
    "envelopes": _blobs(lambda storage: storage.envelopes, all_of_it=True),
    "records": _rows(_records),
    "records-keys": _keys(_records),
    "records-changed": _changed("records"),
    "records-causes": _causes,
    "lookups": _rows(_lookups),
    "lookups-keys": _keys(_lookups),
    "poisoned": _rows(lambda storage: storage.poisoned, all_of_it=True),
    "bodies": _blobs(lambda storage: storage.bodies),
    "bodies-keys": _names,
}
PARTS: Final = tuple(_PARTS)
