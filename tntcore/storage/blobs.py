"""Blob Storage: bodies too large for a table row or a queue message."""

from __future__ import annotations

from contextlib import suppress

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob.aio import BlobServiceClient, ContainerClient

from tntcore.telemetry import Meter


class Blobs:
    """One container. Every call is counted as `blob.<kind>`."""

    def __init__(self, service: BlobServiceClient, container: str, meter: Meter) -> None:
        self._client: ContainerClient = service.get_container_client(container)
        self._meter = meter

    async def put(self, name: str, data: bytes) -> None:
        """Writes the blob, replacing what was there."""
        self._meter.count("blob.put")
        try:
            await self._client.upload_blob(name, data, overwrite=True)
        except ResourceNotFoundError:
            await self.ensure()
            await self._client.upload_blob(name, data, overwrite=True)

    async def get(self, name: str) -> bytes | None:
        """The blob's bytes, or None."""
        self._meter.count("blob.get")
        try:
            download = await self._client.download_blob(name)
        except ResourceNotFoundError:
            return None
        return await download.readall()

    async def delete(self, name: str) -> None:
        """Deletes the blob if it is there."""
        self._meter.count("blob.delete")
        with suppress(ResourceNotFoundError):
            await self._client.delete_blob(name)

    async def size(self, name: str) -> int:
        """The blob's bytes, 0 if it is not there."""
        self._meter.count("blob.size")
        try:
            return int((await self._client.get_blob_client(name).get_blob_properties()).size)
        except ResourceNotFoundError:
            return 0

    async def size_under(self, prefix: str) -> int:
        """Bytes of all blobs whose names begin so."""
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
