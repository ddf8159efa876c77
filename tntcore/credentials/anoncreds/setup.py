"""Sets up AnonCreds for this process: the configured registries, and the service's own."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tntcore.credentials.anoncreds.common import Tools
from tntcore.credentials.anoncreds.credential import AnonCreds
from tntcore.credentials.anoncreds.issuer import Issuer
from tntcore.credentials.anoncreds.proof import AnonCredsProof
from tntcore.credentials.anoncreds.registry import (
    Publisher,
    Registries,
    TailsFiles,
    WebRegistry,
    egress_fetch,
    load_registries,
)
from tntcore.services import Services


@dataclass(frozen=True, slots=True)
class AnonCredsParts:
    issuer: Issuer
    credentials: AnonCreds
    proofs: AnonCredsProof


def open_anoncreds(services: Services) -> AnonCredsParts:
    """Opens it; costs nothing until it is used. Raises any error of the import of a configured registry."""
    fetch, config = egress_fetch(services.egress), services.config
    web = WebRegistry(fetch, time.monotonic, allow_http=config.allow_http)
    plugged = load_registries(config.anoncreds_registries)
    registry = Registries([web, *plugged])
    tails = TailsFiles(fetch, time.monotonic)
    tools = Tools(services.workers, registry, tails, services.now, services.random)
    issuer = Issuer(
        services.workers,
        services.slow_workers,
        registry,
        services.now,
        services.uuid7,
        publishers=[one for one in plugged if isinstance(one, Publisher)],
        allow_http=config.allow_http,
    )
    return AnonCredsParts(issuer, AnonCreds(tools, issuer), AnonCredsProof(tools))
