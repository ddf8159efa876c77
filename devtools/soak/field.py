"""The tenants of a soak and their partners, and what is kept of them between parts."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from devtools.agent import Agent
from devtools.bench.stack import Stack
from tntcore.tenancy.recipients import KeyPairs

TENANTS, EACH = 8, 8


@dataclass
class Target:
    """A partner with its connection.

    Attributes:
        tenant: headers of its calls. connection: uuid, as the tenant knows it. keys: the partner's.
        verkey: of the tenant, which the partner sends to.
    """

    tenant: Mapping[str, str]
    connection: str
    keys: KeyPairs
    verkey: str

    def json(self) -> dict[str, Any]:
        return {
            "tenant": dict(self.tenant),
            "connection": self.connection,
            "keys": base64.b64encode(self.keys.serialise()).decode(),
            "verkey": self.verkey,
        }

    @staticmethod
    def read(data: Mapping[str, Any]) -> Target:
        keys = KeyPairs.deserialise(base64.b64decode(data["keys"]))
        return Target(data["tenant"], data["connection"], keys, data["verkey"])


@dataclass
class Field:
    """
    Attributes:
        url: the service's public one. port: of the receiver. operator: headers of an operator's calls.
    """

    url: str
    port: int
    operator: Mapping[str, str]
    targets: Sequence[Target]

    def json(self) -> dict[str, Any]:
        targets = [target.json() for target in self.targets]
        return {"url": self.url, "port": self.port, "operator": dict(self.operator), "targets": targets}

    @staticmethod
    def read(data: Mapping[str, Any]) -> Field:
        targets = [Target.read(target) for target in data["targets"]]
        return Field(data["url"], data["port"], data["operator"], targets)


async def populate(stack: Stack, url: str, port: int) -> Field:
    """Registers the tenants, each with a webhook and connections with partners.

    Args:
        url: of the receiver, which listens on `port`.
    """
    operator = await asyncio.to_thread(stack.operator, "Soak")
    targets: list[Target] = []
    for number in range(TENANTS):
        made = await asyncio.to_thread(stack.register, f"Tenant {number}", f"{url}/hook/{number}", operator)
        partners = [Agent(f"{url}/partner/{len(targets) + which}") for which in range(EACH)]
        verkeys = await stack.connect(made["uuid"], made["identity"]["uuid"], partners)
        listed = await asyncio.to_thread(
            requests.get, f"{stack.service.url}/api/connection?limit=200", headers=made["headers"], timeout=60
        )
        listed.raise_for_status()
        connections = {hit["theirDid"]: hit["uuid"] for hit in listed.json()["hits"]}
        for partner, verkey in zip(partners, verkeys, strict=True):
            connection = connections[partner.document.id]
            targets.append(Target(made["headers"], connection, partner.keys, verkey))
    return Field(stack.service.url, port, operator, targets)
