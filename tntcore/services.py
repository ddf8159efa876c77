"""The services that touch the world, made once per process and passed to the code that decides."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tntcore.cloud import Cloud
from tntcore.config import Config
from tntcore.dids.methods import MAX_RESOLUTION_BYTES, RESOLUTION_TYPES, Method, Resolution, Universal, Web
from tntcore.dids.resolver import Resolver
from tntcore.dids.webvh import WebVh
from tntcore.egress import FETCH_TIMEOUT, Egress
from tntcore.keys.custody import Custody, LocalMasterKeys, MasterKeys
from tntcore.messaging.ids import UuidFactory
from tntcore.plugins import find_factory
from tntcore.storage.indexes import Indexes
from tntcore.storage.lookups import Lookups
from tntcore.storage.queues import OnPut
from tntcore.storage.storage import Storage
from tntcore.telemetry import Meter, Tracing
from tntcore.telemetry.export import Exporter
from tntcore.tenancy.audit import Audits
from tntcore.tenancy.last_used import LastUsed
from tntcore.tenancy.operators import OperatorKeys
from tntcore.tenancy.tenants import Tenants, stored_data_key
from tntcore.tenancy.usage import Usage
from tntcore.workers import Workers


@dataclass(frozen=True, slots=True)
class Services:
    """Clock, randomness, storage, egress and the like.

    Attributes:
        now: milliseconds since 1970, by the storage account's clock where the machine's is wrong.
        random: returns so many random bytes.
        workers: for computations that a caller waits for. slow_workers: for those that may take a minute.
        uuid7: the next identifier, greater than all before it in this process.
        last_used: records when keys were used.
        exporter: receives traces and metrics, if the operator configured one.
    """

    config: Config
    meter: Meter
    cloud: Cloud
    storage: Storage
    indexes: Indexes
    lookups: Lookups
    custody: Custody
    tenants: Tenants
    resolver: Resolver
    egress: Egress
    workers: Workers
    slow_workers: Workers
    usage: Usage
    operators: OperatorKeys
    last_used: LastUsed
    audits: Audits
    now: Callable[[], int]
    random: Callable[[int], bytes]
    uuid7: UuidFactory
    tracing: Tracing = field(default_factory=Tracing)
    exporter: Exporter | None = None

    async def close(self) -> None:
        """Closes everything. Telemetry does not wait for storage, as storage may be at fault."""
        telemetry = asyncio.to_thread(self.exporter.stop) if self.exporter is not None else asyncio.sleep(0)
        await asyncio.gather(telemetry, self._close())

    async def _close(self) -> None:
        await self.workers.close()
        await self.slow_workers.close()
        await self.usage.flush()
        await self.last_used.flush()
        await self.egress.close()
        await self.storage.close()
        await self.cloud.close()


def open_services(
    config: Config,
    on_put: OnPut,
    egress: Egress | None = None,
    cloud: Cloud | None = None,
    storage: Storage | None = None,
) -> Services:
    """Opens everything, inside a running event loop. `on_put` is called after each put: see `OnPut`."""
    meter = Meter(config.telemetry.tenants)
    exported = bool(config.telemetry.traces or config.telemetry.metrics)
    tracing = Tracing(secrets.token_bytes, config.telemetry.sample, watched=exported or config.telemetry.json_logs)
    exporter = None
    if exported:
        exporter = Exporter(config.telemetry, meter)
        if config.telemetry.traces:
            tracing.sinks.append(exporter)
    cloud = cloud or Cloud(config.identity)
    now = cloud.clock
    storage = storage or Storage(config.storage, meter, on_put, cloud)
    egress = egress or Egress(config.egress_allow, allow_http=config.allow_http)
    workers = Workers(patience=20)
    resolver = Resolver(did_methods(config, egress, workers), time.monotonic)
    custody = Custody(_master_keys(config, cloud), stored_data_key(storage), time.monotonic)
    usage = Usage(storage, config.limits.stored, time.monotonic, lambda: now() / 1000)
    indexes = Indexes(storage.lookups, now)
    tenants = Tenants(storage, custody, resolver.resolve, time.monotonic, indexes, usage.add, usage.count)
    return Services(
        config=config,
        meter=meter,
        cloud=cloud,
        storage=storage,
        indexes=indexes,
        lookups=Lookups(storage.lookups, time.monotonic),
        custody=custody,
        tenants=tenants,
        resolver=resolver,
        egress=egress,
        workers=workers,
        slow_workers=Workers(1, seconds=120),
        usage=usage,
        operators=OperatorKeys(storage, now, time.monotonic, secrets.token_bytes),
        last_used=LastUsed(storage.committer, meter),
        audits=Audits(storage, time.monotonic),
        now=now,
        random=secrets.token_bytes,
        uuid7=UuidFactory(now, secrets.token_bytes),
        tracing=tracing,
        exporter=exporter,
    )


def did_methods(config: Config, egress: Egress, workers: Workers) -> list[Method]:
    """Returns the DID methods whose documents are fetched. Raises any error of the import of a configured one."""

    async def get(url: str) -> Resolution:
        answer = await egress.request(
            "GET",
            url,
            headers={"Accept": RESOLUTION_TYPES},
            max_answer=MAX_RESOLUTION_BYTES,
            timeout=FETCH_TIMEOUT,
        )
        body = None if answer.truncated else answer.body
        return Resolution(answer.status, answer.headers.get("content-type", ""), body)

    methods: list[Method] = [
        Web(egress.fetch, allow_http=config.allow_http),
        WebVh(egress.fetch, workers.run, allow_http=config.allow_http),
    ]
    methods += [find_factory(name)(egress.fetch) for name in config.did_methods]
    if config.universal_resolver:
        methods.append(Universal(config.universal_resolver, get))
    return methods


def _master_keys(config: Config, cloud: Cloud) -> MasterKeys:
    if isinstance(config.master_keys, Path):
        return LocalMasterKeys(config.master_keys)
    # Slow to load.
    from tntcore.keys.vault import VaultMasterKeys

    return VaultMasterKeys(config.master_keys, cloud, time.monotonic)
