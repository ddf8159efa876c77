"""The tables, queues and containers that the service uses, opened once per process."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from azure.core.exceptions import AzureError
from azure.data.tables.aio import TableServiceClient
from azure.storage.queue._shared.policies_async import LinearRetry  # the public one is not asynchronous

from tntcore.caching import SharedCache
from tntcore.clock import Clock
from tntcore.cloud import Cloud
from tntcore.config import CloudIdentity, StorageAccount
from tntcore.storage.blobs import Blobs
from tntcore.storage.clients import Queues, Tables
from tntcore.storage.commit import Committer
from tntcore.storage.queues import ListQueue, OnPut, Queue
from tntcore.storage.tables import Table
from tntcore.storage.transactions import TransactionError
from tntcore.telemetry import Meter

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobServiceClient

log = logging.getLogger(__name__)

_LONGEST_PAUSE: Final = 60.0  # seconds between two attempts at making what is missing
INBOUND, EXCHANGE, OUTBOUND, RELAY = "inbound", "exchange", "outbound", "relay"
_ASKED_SECONDS = 2.0
# Retries within one call. The queue redelivers after a failure, so a call need not wait long; a stop must not hang.
_TABLES: dict[str, Any] = {"retry_total": 3, "retry_connect": 2, "retry_backoff_factor": 0.2}
# For LinearRetry: each retry waits 0.05 to 0.55 s. The SDK's default, ExponentialRetry, waits 1 s and more before the
# first retry, however it is set.
_QUEUES_AND_BLOBS: dict[str, Any] = {
    "backoff": 0.3,
    "random_jitter_range": 0.25,
    "retry_total": 5,
    "retry_connect": 2,
}


class Storage:
    """The storage account of the service.

    Attributes:
        records: all records of all principals, each in the partition of its uuid (`tntcore.storage.records`).
        lookups: names found from outside a partition: recipient keys, api tokens, public identities.
        due: which principals had something to deliver, by time; read by the sweeper.
        poisoned: poison messages, by queue.
        inbound: packed messages to decrypt. exchange: those that issue or prove, which may take long to compute.
        outbound, relay: effects of commits.
        bodies: sealed bodies too large for a row. envelopes: packed messages too large for a queue.
    """

    def __init__(self, account: str | StorageAccount, meter: Meter, on_put: OnPut, cloud: Cloud | None = None) -> None:
        """`account` is a connection string, or the URLs that the identity of `cloud` opens."""
        self.meter = meter
        self._owns_cloud = cloud is None
        self._cloud = cloud = cloud or Cloud(CloudIdentity())
        self._tables: TableServiceClient
        self._queues: Queues
        self._account = account
        self._blob_service: BlobServiceClient | None = None
        if isinstance(account, str):
            self._tables = Tables.from_connection_string(account, transport=cloud.transport(of_storage=True), **_TABLES)
            self._queues = Queues.from_connection_string(
                account, transport=cloud.transport(of_storage=True), retry_policy=LinearRetry(**_QUEUES_AND_BLOBS)
            )
        else:
            identity: dict[str, Any] = {"credential": cloud.credential()}
            self._tables = Tables(account.tables, transport=cloud.transport(of_storage=True), **identity, **_TABLES)
            self._queues = Queues(
                account.queues,
                transport=cloud.transport(of_storage=True),
                retry_policy=LinearRetry(**_QUEUES_AND_BLOBS),
                **identity,
            )
        self.records = Table(self._tables, "records", meter)
        self.lookups = Table(self._tables, "lookups", meter)
        self.due = Table(self._tables, "due", meter)
        self.poisoned = Table(self._tables, "poisoned", meter)
        self.committer = Committer(self.records)
        self._inbound = Queue(self._queues, INBOUND, meter, on_put)
        self._exchange = Queue(self._queues, EXCHANGE, meter, on_put)
        self._outbound = Queue(self._queues, OUTBOUND, meter, on_put)
        self._relay = Queue(self._queues, RELAY, meter, on_put)
        self.queues = {queue.name: queue for queue in (self._inbound, self._exchange, self._outbound, self._relay)}
        # The host creates a poison queue only when it needs one, and warns at each poll until then.
        self._poison = [Queue(self._queues, f"{name}-poison", meter, on_put) for name in self.queues]
        self.inbound = ListQueue(self._inbound.put)
        self.outbound = ListQueue(self._outbound.put)
        self.relay = ListQueue(self._relay.put)
        self._reachable: SharedCache[dict[str, bool]] = SharedCache(time.monotonic, 1)
        self.bodies = Blobs(self._blobs, "bodies", meter)
        self.envelopes = Blobs(self._blobs, "envelopes", meter)

    @property
    def host(self) -> str:
        """Names the account, without anything secret."""
        return self._tables.url.partition("?")[0].partition("//")[2].rstrip("/")

    @property
    def clock(self) -> Clock:
        """The time, in step with the account's."""
        return self._cloud.clock

    def container(self, name: str) -> Blobs:
        """Any container of the account."""
        return Blobs(self._blobs, name, self.meter)

    def _blobs(self) -> BlobServiceClient:
        if self._blob_service is None:
            # Slow to load, and not needed for a message of usual size.
            from tntcore.storage.blob_service import open_blob_service

            self._blob_service = open_blob_service(self._account, self._cloud, _QUEUES_AND_BLOBS)
        return self._blob_service

    async def ensure(self) -> None:
        """Creates missing tables and queues, so that the first message does not wait for it. Containers are created
        when they are first written.
        """
        await asyncio.gather(
            *(table.ensure() for table in (self.records, self.lookups, self.due, self.poisoned)),
            *(queue.ensure() for queue in self.queues.values()),
            *(queue.ensure() for queue in self._poison),
        )

    async def ensure_in_time(self, pause: float = 1.0) -> None:
        """Creates what is missing, and retries until it can: the app's roles may come into force minutes after it
        starts.

        Args:
            pause: seconds to the second attempt; doubled each time.
        """
        while True:
            try:
                await self.ensure()
            except (AzureError, TransactionError, OSError) as error:
                log.warning("storage cannot be set up yet, trying again in %g s: %s", pause, type(error).__name__)
            else:
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def reachable(self) -> dict[str, bool]:
        """Returns which of the three services answer. Anybody may ask, so the answer is cached for some seconds."""
        return await self._reachable.get("", self._ask)

    async def _ask(self) -> tuple[dict[str, bool], float]:
        async def answers(call: object) -> bool:
            try:
                async with asyncio.timeout(5):
                    await call  # type: ignore[misc]
            except (AzureError, TimeoutError):
                return False
            return True

        names = ("tables", "queues", "blobs")
        results = await asyncio.gather(
            answers(self._tables.get_service_properties()),
            answers(self._queues.get_service_properties()),
            answers(self._blobs().get_service_properties()),
        )
        return dict(zip(names, results, strict=True)), _ASKED_SECONDS

    async def close(self) -> None:
        await asyncio.gather(self._tables.close(), self._queues.close())
        if self._blob_service is not None:
            await self._blob_service.close()
        if self._owns_cloud:
            await self._cloud.close()
