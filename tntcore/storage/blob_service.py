"""The client of the account's blobs: a module of its own, because its library is slow to load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from azure.storage.blob.aio import BlobServiceClient, LinearRetry

from tntcore.cloud import Cloud
from tntcore.config import StorageAccount


def open_blob_service(account: str | StorageAccount, cloud: Cloud, retries: Mapping[str, Any]) -> BlobServiceClient:
    """Opens the client.

    Args:
        account: a connection string, or the URLs that the identity of `cloud` opens.
        retries: arguments of `LinearRetry`.
    """
    options: dict[str, Any] = {
        "transport": cloud.transport(of_storage=True),
        "retry_policy": LinearRetry(**retries),
    }
    if isinstance(account, str):
        return BlobServiceClient.from_connection_string(account, **options)
    return BlobServiceClient(account.blobs, cloud.credential(), **options)
