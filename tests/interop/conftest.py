"""Agents for the interop tests: each is started once, when a test first asks for it, and shared from then on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.interop.acapy import Acapy, AcapyVersion
from tests.interop.credo import Credo
from tests.stack import Client, Stack


class Pool:
    """The agents that run, by version and name."""

    def __init__(self, folder: Path, running: AsyncExitStack) -> None:
        self._folder, self._running = folder, running
        self._agents: dict[str, Acapy] = {}

    async def get(self, version: AcapyVersion, name: str, **options: Any) -> Acapy:
        name = f"{name}-{version}"
        if name not in self._agents:
            agent = Acapy(version, name, self._folder, **options)
            self._agents[name] = await self._running.enter_async_context(agent)
        return self._agents[name]


class Agents:
    """Gives a test its agents: `await agents("1.7.0", "alice")`; options are those of `Acapy`, when it is new."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.logs: dict[Acapy, int] = {}

    async def __call__(self, version: AcapyVersion, name: str, **options: Any) -> Acapy:
        agent = await self._pool.get(version, name, **options)
        self.logs.setdefault(agent, agent.log.stat().st_size)
        return agent

    def sections(self) -> list[tuple[str, str]]:
        """What the agents logged during the test, for its report."""
        return [(f"end of {agent.log}", agent.tail(since)) for agent, since in self.logs.items()]


@pytest.fixture(scope="session")
async def acapy_pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pool]:
    async with AsyncExitStack() as running:
        yield Pool(tmp_path_factory.mktemp("acapy"), running)


@pytest.fixture
async def agents(acapy_pool: Pool) -> Agents:
    return Agents(acapy_pool)


@pytest.fixture(scope="session")
async def credo_agent(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Credo]:
    async with Credo("credo", tmp_path_factory.mktemp("credo")) as agent:
        yield agent


@pytest.fixture
def credo(credo_agent: Credo) -> Credo:
    credo_agent.since = credo_agent.log.stat().st_size
    return credo_agent


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    arguments = item.funcargs.values() if report.failed and isinstance(item, pytest.Function) else ()
    for used in arguments:
        if isinstance(used, Agents | Credo):
            report.sections += used.sections()
    return report


@pytest.fixture
def new_tenant(stack: Stack) -> Callable[[str], Any]:
    """Registers a tenant with a webhook receiver that gets everything."""

    async def make(name: str) -> Client:
        tenant = await stack.register(name)
        await tenant.webhook()
        return tenant

    return make


@pytest.fixture
async def tenant(new_tenant: Callable[[str], Any]) -> Client:
    made: Client = await new_tenant("Acme")
    return made
