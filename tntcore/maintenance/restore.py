"""Puts a backup into a storage account, which it then repairs. The service must not run on that account meanwhile, and
says so itself: see `tntcore.storage.layout`.

A restore that was killed goes on: which backup it is of, and how far it came, is in the account.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tntcore.maintenance import archive
from tntcore.maintenance.archive import BackupError, File, Files, Generation, Index
from tntcore.maintenance.backup import Told
from tntcore.maintenance.repair import Repaired, repair
from tntcore.pipeline import given_up
from tntcore.storage import layout
from tntcore.storage.blobs import Blobs
from tntcore.storage.items import InboundItem, queue_message
from tntcore.storage.layout import LAYOUT
from tntcore.storage.records import Message
from tntcore.storage.storage import INBOUND, Storage
from tntcore.storage.tables import Table
from tntcore.storage.transactions import MAX_BYTES, MAX_OPERATIONS, Operation
from tntcore.version import VERSION

_AT_ONCE = 8  # transactions, or blobs


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a backup in the account.

    Attributes:
        keys: the part that lists the keys that existed; "" if only the last generation counts.
        always: its data was written after those keys were listed.
    """

    name: str
    keys: str = ""
    always: bool = False


# Blobs come before the rows that name them, and the names by which others find records come last.
_ORDER: Final = (
    _Part("bodies", "bodies-keys"),
    _Part("envelopes"),
    _Part("records", "records-keys"),
    _Part("records-changed", "records-keys", always=True),
    _Part("records-causes", "records-keys", always=True),
    _Part("poisoned"),
    _Part("lookups", "lookups-keys"),
)


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a restore: the account's generation now, and what was repaired after it.

    Attributes:
        restored_before: an earlier call restored it, and this one only repaired.
    """

    generation: Generation
    repaired: Repaired
    restored_before: bool = False


async def verify(files: Files, told: Told = lambda part, count: None) -> tuple[Index, Sequence[Generation]]:
    """Reads the whole backup. Raises `BackupError` if a file is missing or differs from what was written."""
    index = await archive.read_index(files)
    if index is None or not index.manifests:
        raise BackupError("There is no complete backup. Name the folder or container that `backup` has written.")
    generations = [await archive.read_generation(files, index, number + 1) for number in range(len(index.manifests))]
    newest = max(generation.layout for generation in generations)
    if newest > LAYOUT:
        raise BackupError(
            f"The backup has storage layout {newest}, and this version reads up to {LAYOUT}. Use the version that "
            f"wrote it ({generations[-1].version}), or a newer one."
        )
    for generation in generations:
        for file in generation.files:
            await archive.read_lines(files, file)
            told("verify", file.lines)
    return index, generations


async def restore(
    storage: Storage, files: Files, now: Callable[[], int], *, over: bool = False, told: Told = lambda part, count: None
) -> Restored:
    """Puts the newest generation into the account. If that is done already, it only repairs, since the answer of the
    call that did it may have been lost.

    Args:
        now: milliseconds since 1970.
        over: even if the account is not empty, or the same backup was restored into it. Rows and blobs of the backup
            replace those of the same name; others stay.

    Raises:
        BackupError: the backup is not whole, or the account is not empty, or another backup is being restored into it.
        UnusableStorageError: a newer version has used the account.
    """
    index, generations = await verify(files, told)
    await storage.ensure()
    name = f"{index.id}/{len(generations)}"
    row = await storage.lookups.get(layout.PARTITION, layout.RESTORE)
    if row is not None and row.values["backup"] != name:
        raise BackupError(
            f"The restore of another backup ({row.values['backup']}) into this account is not complete. Complete that "
            "one, or take an empty account."
        )
    if row is None and not over and await _is_done(storage, name):
        await layout.check(storage)
        return Restored(generations[-1], await repair(storage, now, told), restored_before=True)
    if row is None and not over and not await _is_empty(storage):
        raise BackupError(
            "The storage account is not empty, so nothing was restored. Take a new one. To put the backup over what is "
            "there, use --over."
        )
    await layout.check(storage, restoring=True)
    # Another version may have had another order.
    done = row.values["done"] if row is not None and row.values.get("version") == VERSION else 0
    await _note(storage, name, done)
    with _Kept.open() as kept:
        for keys in sorted({part.keys for part in _ORDER} - {""}):
            for file in generations[-1].of(keys):
                kept.add(keys, await archive.read_lines(files, file))
        for number, (part, generation, file) in enumerate(list(_files(generations))):
            if number < done:
                continue
            lines = await archive.read_lines(files, file)
            is_last = generation is generations[-1]
            if part.keys and not (is_last and part.always):
                lines = kept.only(part.keys, lines, row_keys=part.name != "bodies")
            told(part.name, await _put(storage, part.name, lines))
            await _note(storage, name, number + 1)
    for file in generations[-1].of("queues"):
        for queue, message in await archive.read_lines(files, file):
            await storage.queues[queue].put(base64.b64decode(message))
            told("queues", 1)
    told("envelopes again", await _queue_envelopes(storage))
    repaired = await repair(storage, now, told, queues_are_lost=True)
    await storage.lookups.put(layout.PARTITION, layout.RESTORED, {"backup": name})
    await storage.lookups.delete(layout.PARTITION, layout.RESTORE)
    return Restored(generations[-1], repaired)


def _files(generations: Sequence[Generation]) -> Iterator[tuple[_Part, Generation, File]]:
    """Yields the parts in the order in which they are restored: the newest copy of a row or blob comes last."""
    for parts in (_ORDER[:1], _ORDER[1:2], _ORDER[2:5], _ORDER[5:6], _ORDER[6:]):
        for generation in generations:
            for part in parts:
                if part.keys or generation is generations[-1]:
                    for file in generation.of(part.name):
                        yield part, generation, file


async def _note(storage: Storage, name: str, done: int) -> None:
    await storage.lookups.put(layout.PARTITION, layout.RESTORE, {"backup": name, "done": done, "version": VERSION})


async def _is_done(storage: Storage, name: str) -> bool:
    """Whether this backup was the last to be restored into the account, whole."""
    row = await storage.lookups.get(layout.PARTITION, layout.RESTORED)
    return row is not None and row.values["backup"] == name


async def _is_empty(storage: Storage) -> bool:
    """Whether the account has no records, bodies and queue messages."""
    for table in (storage.records, storage.poisoned):
        if (await table.walk(columns=())).rows:
            return False
    for container in (storage.bodies, storage.envelopes):
        if (await container.page(None, 1)).blobs:
            return False
    waiting = [(await queue.peek())[1] for queue in storage.queues.values()]
    return not any(waiting)


class _Kept:
    """The keys of the last generation, kept on disk."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.execute("CREATE TABLE kept (part TEXT, partition TEXT, key TEXT, PRIMARY KEY (part, partition, key))")

    @staticmethod
    @contextmanager
    def open() -> Iterator[_Kept]:
        with (
            tempfile.TemporaryDirectory(prefix="tntcore-restore-") as folder,
            closing(sqlite3.connect(Path(folder) / "keys", isolation_level=None)) as database,
        ):
            database.execute("PRAGMA synchronous = OFF")
            yield _Kept(database)

    def add(self, part: str, lines: Iterator[Any]) -> None:
        self._database.execute("BEGIN")
        rows = ((part, partition, key) for partition, key in lines)
        self._database.executemany("INSERT OR IGNORE INTO kept VALUES (?, ?, ?)", rows)
        self._database.execute("COMMIT")

    def only(self, part: str, lines: Iterator[Any], *, row_keys: bool) -> Iterator[Any]:
        """The lines of what was still there."""
        for line in lines:
            partition, key = line[:2] if row_keys else ("", line[0])
            found = self._database.execute(
                "SELECT 1 FROM kept WHERE part = ? AND partition = ? AND key = ?", (part, partition, key)
            )
            if found.fetchone() is not None:
                yield line


async def _put(storage: Storage, part: str, lines: Iterator[Any]) -> int:
    """Writes a file's lines. Returns their number."""
    if part in ("bodies", "envelopes"):
        return await _put_blobs(storage.bodies if part == "bodies" else storage.envelopes, lines)
    tables: Mapping[str, Table] = {"poisoned": storage.poisoned, "lookups": storage.lookups}
    return await _put_rows(tables.get(part, storage.records), lines)


async def _put_blobs(blobs: Blobs, lines: Iterator[Any]) -> int:
    count = 0
    for some in _by(_AT_ONCE, lines):
        await asyncio.gather(*(blobs.put(name, data, metadata) for name, metadata, data in map(archive.blob_of, some)))
        count += len(some)
    return count


async def _put_rows(table: Table, lines: Iterator[Any]) -> int:
    count = 0
    rows = (row for row in map(archive.row_of, lines) if row[0] != layout.PARTITION)
    for some in _by(_AT_ONCE, _transactions(rows)):
        await asyncio.gather(*(table.transact(partition, operations) for partition, operations in some))
        count += sum(len(operations) for _, operations in some)
    return count


def _transactions(rows: Iterator[tuple[str, str, Any]]) -> Iterator[tuple[str, Sequence[Operation]]]:
    for partition, group in itertools.groupby(rows, lambda row: row[0]):
        operations: dict[str, Operation] = {}
        size = 0
        for _, key, values in group:
            operation = Operation("replace", key, values)
            if operations and (len(operations) == MAX_OPERATIONS or size + operation.size > MAX_BYTES):
                yield partition, list(operations.values())
                operations, size = {}, 0
            operations[key] = operation
            size += operation.size
        yield partition, list(operations.values())


def _by(number: int, items: Iterator[Any]) -> Iterator[list[Any]]:
    while some := list(itertools.islice(items, number)):
        yield some


async def _queue_envelopes(storage: Storage) -> int:
    """Puts the large envelopes on their way again, but for those that were given up and wait for the operator. To
    handle one twice does nothing twice."""
    count = 0
    position: str | None = None
    while True:
        page = await storage.envelopes.page(position, 500)
        for blob in page.blobs:
            item = InboundItem.of_blob(blob.name, blob.metadata)
            if item is None:
                continue
            row = await storage.records.get(item.principal, Message.row_key(blob.name))
            if row is None or not given_up.shows(Message.read(row)):
                await storage.queues[INBOUND].put(queue_message([item]))
                count += 1
        position = page.next
        if position is None:
            return count
