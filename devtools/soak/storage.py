"""Looks into the storage of a soak, and backs it up, restores it and repairs it by the command line."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter

from azure.storage.queue.aio import QueueServiceClient

from tntcore.delivery.outbox import UNQUEUED
from tntcore.delivery.pulse import PROCESS
from tntcore.storage.items import InboundItem, queue_message
from tntcore.storage.records import END, Delivery
from tntcore.storage.storage import INBOUND, Storage
from tntcore.telemetry import Meter

_TRIES = 3


class CommandError(Exception):
    """A command of the service's command line failed."""


async def command(connection_string: str, *arguments: str) -> None:
    """Runs `python -m tntcore` on a storage account, again if storage did not answer. Raises `CommandError`."""
    for _ in range(_TRIES):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tntcore", *arguments),
            env={**os.environ, "AzureWebJobsStorage": connection_string},
            stdout=asyncio.subprocess.DEVNULL,
        )
        if await process.wait() == 0:
            return
    raise CommandError(f"`{' '.join(arguments)}` ended with code {process.returncode}; it said why above")


async def waiting_in(queues: QueueServiceClient, *names: str) -> int:
    """Messages in these queues, by default in all, those included that are being handled or put off."""
    waiting = 0
    async for queue in queues.list_queues():
        if not names or queue.name in names:
            properties = await queues.get_queue_client(queue.name).get_queue_properties()
            waiting += properties.approximate_message_count or 0
    return waiting


async def queue_orphans(connection_string: str) -> int:
    """Queues the large envelopes that are left, as the service's timer does with those that are three days old, unless
    some message was given up, whose envelope stays. Returns how many.
    """
    storage = _open(connection_string)
    try:
        if (await storage.poisoned.walk()).rows:
            return 0
        blobs = (await storage.envelopes.page(None, 1000)).blobs
        items = [item for blob in blobs if (item := InboundItem.of_blob(blob.name, blob.metadata)) is not None]
        for item in items:
            await storage.queues[INBOUND].put(queue_message([item]))
        return len(items)
    finally:
        await storage.close()


async def look_for_what_is_left(connection_string: str) -> Counter[str]:
    """Counts what is in storage and should not be when nothing is under way."""
    left: Counter[str] = Counter()
    storage = _open(connection_string)
    try:
        position = None
        while True:
            page = await storage.records.walk(position, keys=(Delivery.row_key(""), Delivery.KIND + END))
            left.update(f"deliveries {row.values['status']}" for row in page.rows)
            position = page.next
            if position is None:
                break
        del left["deliveries DELIVERED"]
        left["given up"] = len((await storage.poisoned.walk()).rows)
        left["large envelopes"] = len((await storage.envelopes.page(None, 1000)).blobs)
        rows = (await storage.due.scan(UNQUEUED, "", "~", limit=1000)).rows
        left["deliveries noted as not queued"] = sum(not row.key.startswith(PROCESS) for row in rows)
    finally:
        await storage.close()
    return left


def _open(connection_string: str) -> Storage:
    return Storage(connection_string, Meter(0), lambda queue, delay: None)
