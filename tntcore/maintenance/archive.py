"""The files of a backup, in a folder or in a container of another storage account. docs/operating.md describes them.

A backup is a row of generations, each what has changed since the one before. Each file is JSON lines, compressed with
gzip, and its generation's manifest has its number of lines and its SHA-256. The lines contain the data as it is stored:
bodies and private keys are sealed.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import orjson

from tntcore.storage.blobs import Blobs
from tntcore.storage.tables import Row
from tntcore.storage.transactions import Value

FORMAT: Final = 1
INDEX: Final = "backup.json"
_KIND: Final = "tntcore backup"


class BackupError(Exception):
    """A place that no backup can be written to, or restored from. The text says why, and what to do."""


class Files(Protocol):
    """A place where the files of a backup stand."""

    async def read(self, name: str) -> bytes | None:
        """The file, or None."""

    async def write(self, name: str, data: bytes) -> None:
        """Writes the file, whole or not at all."""


class Folder:
    """A folder of this machine that only its owner can read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def read(self, name: str) -> bytes | None:
        return await asyncio.to_thread(self._read, name)

    async def write(self, name: str, data: bytes) -> None:
        await asyncio.to_thread(self._write, name, data)

    def _read(self, name: str) -> bytes | None:
        try:
            return (self._path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _write(self, name: str, data: bytes) -> None:
        path = self._path / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = path.with_name(path.name + ".part")
        unfinished.unlink(missing_ok=True)
        opened = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(opened, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)


class Container:
    """A container of a storage account."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def read(self, name: str) -> bytes | None:
        return await self._blobs.get(name)

    async def write(self, name: str, data: bytes) -> None:
        await self._blobs.put(name, data)


@dataclass(frozen=True, slots=True)
class File:
    """A file of a generation. `sha256`: hexadecimal, of the file as it is kept."""

    name: str
    part: str
    lines: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Generation:
    """One call of `backup`.

    Attributes:
        number: from 1 on. began: time of the storage account's clock, in milliseconds since 1970.
        layout: that of what was stored.
        version: of the program.
        master_keys: versions of the master key that wrap data keys in it.
        waiting: messages of each queue that were too many to be copied.
    """

    number: int
    began: int
    layout: int
    version: str
    files: Sequence[File] = ()
    master_keys: Sequence[str] = ()
    waiting: Mapping[str, int] = field(default_factory=dict)

    @staticmethod
    def read(data: bytes) -> Generation:
        """Raises `KeyError`, `TypeError` or `ValueError` for what is none."""
        said = orjson.loads(data)
        files = [File(**file) for file in said.pop("files")]
        return Generation(**said, files=files)

    def write(self) -> bytes:
        return orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2)

    def of(self, part: str) -> Sequence[File]:
        return [file for file in self.files if file.part == part]


@dataclass(slots=True)
class Index:
    """The file `backup.json`.

    Attributes:
        id: names the backup. account: the storage account that it is of.
        manifests: SHA-256 of each generation's manifest.
    """

    id: str
    account: str
    manifests: list[str] = field(default_factory=list)

    @staticmethod
    def read(data: bytes) -> Index:
        """Raises `BackupError`."""
        try:
            said = orjson.loads(data)
            kind, version = said.pop("kind"), said.pop("format")
        except (AttributeError, KeyError, ValueError):
            raise BackupError(f"{INDEX} is no index of a backup. Name the folder that `backup` has written.") from None
        if kind != _KIND or not isinstance(version, int) or version > FORMAT:
            raise BackupError(
                f"The backup has format {version!r}, and this version reads up to {FORMAT}. Use the version that wrote "
                "it, or a newer one."
            )
        try:
            return Index(**said)
        except TypeError:
            raise BackupError(
                f"This version cannot read {INDEX}. Use the version that wrote it, or a newer one."
            ) from None

    def write(self) -> bytes:
        return orjson.dumps({"kind": _KIND, "format": FORMAT, **asdict(self)}, option=orjson.OPT_INDENT_2)


async def read_index(files: Files) -> Index | None:
    """Reads `backup.json`; None if there is no backup. Raises `BackupError`."""
    data = await files.read(INDEX)
    return None if data is None else Index.read(data)


async def read_generation(files: Files, index: Index, number: int) -> Generation:
    """Reads a generation's manifest. Raises `BackupError` if it is missing or was changed."""
    data = await files.read(manifest_of(number))
    if data is None or digest(data) != index.manifests[number - 1]:
        raise BackupError(f"{manifest_of(number)} is {'missing' if data is None else 'not as it was written'}.")
    try:
        return Generation.read(data)
    except (KeyError, TypeError, ValueError):
        raise BackupError(
            f"This version cannot read {manifest_of(number)}. Use the version that wrote it, or a newer one."
        ) from None


async def read_lines(files: Files, file: File) -> Iterator[Any]:
    """Yields what the lines of a file contain. Raises `BackupError` if it is missing or was changed."""
    data = await files.read(file.name)
    if data is None or digest(data) != file.sha256:
        raise BackupError(f"{file.name} is {'missing' if data is None else 'not as it was written'}.")
    lines = gzip.decompress(data).splitlines()
    if len(lines) != file.lines:
        raise BackupError(f"{file.name} has {len(lines)} lines, not {file.lines}.")
    return map(orjson.loads, lines)


def packed(lines: Sequence[bytes]) -> bytes:
    """Returns the file of these lines. The same lines give the same file."""
    return gzip.compress(b"".join(line + b"\n" for line in lines), compresslevel=1, mtime=0)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def manifest_of(number: int) -> str:
    return f"{number:06d}/manifest.json"


def progress_of(number: int) -> str:
    return f"{number:06d}/progress.json"


def list_of(number: int, part: int) -> str:
    return f"{number:06d}/files-{part:06d}.json"


def row_line(row: Row) -> bytes:
    columns = {
        name: {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        for name, value in row.values.items()
    }
    return orjson.dumps([row.partition, row.key, columns])


def row_of(line: Sequence[Any]) -> tuple[str, str, dict[str, Value]]:
    """Partition, key and columns."""
    partition, key, columns = line
    values = {
        name: base64.b64decode(value["base64"]) if isinstance(value, dict) else value for name, value in columns.items()
    }
    return partition, key, values


def blob_line(name: str, metadata: Mapping[str, str], data: bytes) -> bytes:
    return orjson.dumps([name, dict(metadata), base64.b64encode(data).decode()])


def blob_of(line: Sequence[Any]) -> tuple[str, dict[str, str], bytes]:
    """Name, metadata and content."""
    name, metadata, data = line
    return name, metadata, base64.b64decode(data)
