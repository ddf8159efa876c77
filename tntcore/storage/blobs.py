"""Blob Storage: bodies too large for a table row or a queue message."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError

from tntcore.telemetry import Meter

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobServiceClient, ContainerClient


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob in a list. `modified`: milliseconds since 1970."""

    name: str
    metadata: Mapping[str, str]
    modified: int


@dataclass(frozen=True, slots=True)
class BlobPage:
    """Blobs in the order of their names; `next` is the start of the next page, None at the end."""

    blobs: Sequence[Blob]
    next: str | None


class Blobs:
    """One container. `service` gives its client when it is first used. Every call is counted as `blob.<kind>`."""

    def __init__(self, service: Callable[[], BlobServiceClient], container: str, meter: Meter) -> None:
        self._service = service
        self._container = container
        self._meter = meter

    @cached_property
    def _client(self) -> ContainerClient:
        return self._service().get_container_client(self._container)

    async def put(self, name: str, data: bytes, metadata: Mapping[str, str] | None = None) -> None:
        """Writes the blob, replacing what was there."""
        self._meter.count("blob.put")
        kept = dict(metadata) if metadata else None
        try:
            await self._client.upload_blob(name, data, overwrite=True, metadata=kept)
        except ResourceNotFoundError:
            await self.ensure()
            await self._client.upload_blob(name, data, overwrite=True, metadata=kept)

    async def touch(self, name: str, metadata: Mapping[str, str]) -> bool:
        """Sets the blob's metadata, which renews its modification time. Returns False if the blob is not there."""
        self._meter.count("blob.touch")
        try:
            await self._client.get_blob_client(name).set_blob_metadata(dict(metadata))
        except ResourceNotFoundError:
            return False
        return True

    async def page(self, start: str | None, limit: int, under: str = "") -> BlobPage:
        """Lists blobs whose names begin with `under`. `start`: `next` of the page before, None for the first."""
        self._meter.count("blob.list")
        listed = self._client.list_blobs(under or None, include=["metadata"], results_per_page=limit)
        pages = listed.by_page(start)
        try:
            async for page in pages:
                blobs = [
                    Blob(blob.name, blob.metadata or {}, int(blob.last_modified.timestamp() * 1000))
                    async for blob in page
                ]
                return BlobPage(blobs, pages.continuation_token or None)  # type: ignore[attr-defined]
        except ResourceNotFoundError:
            pass
        return BlobPage([], None)

    async def get(self, name: str) -> bytes | None:
        """Returns the blob's bytes, or None."""
        self._meter.count("blob.get")
        try:
            download = await self._client.download_blob(name)
        except ResourceNotFoundError:
            return None
        return await download.readall()

    async def delete(self, name: str, *, before: int | None = None) -> bool:
        """Deletes the blob if it is there. Returns False if it was written after `before`, milliseconds since 1970."""
        self._meter.count("blob.delete")
        until = None if before is None else datetime.fromtimestamp(before / 1000, UTC)
        try:
            with suppress(ResourceNotFoundError):
                await self._client.delete_blob(name, if_unmodified_since=until)
        except HttpResponseError as error:
            if error.status_code != 412:
                raise
            return False
        return True

    async def size(self, name: str) -> int:
        """Returns the size in bytes, 0 if the blob is not there."""
        self._meter.count("blob.size")
        try:
            return int((await self._client.get_blob_client(name).get_blob_properties()).size)
        except ResourceNotFoundError:
            return 0

    async def size_under(self, prefix: str) -> int:
        """Returns the size in bytes of all blobs whose names have this prefix."""
        self._meter.count("blob.list")
        total = 0
        with suppress(ResourceNotFoundError):
            async for blob in self._client.list_blobs(name_starts_with=prefix):
                total += blob.size or 0
        return total

    async def ensure(self) -> None:
        """Creates the container if it is missing."""
        self._meter.count("blob.ensure")
        with suppress(ResourceExistsError):
            await self._client.create_container()
