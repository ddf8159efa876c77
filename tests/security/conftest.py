"""Those who take part: a tenant, an agent outside, and an attacker."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.security.agents import Agent
from tests.stack import Client, Receiver, Stack


@pytest.fixture(scope="module")
async def receiver() -> AsyncIterator[Receiver]:
    """Where all agents of this module are sent to: each opens what is for its own key."""
    running = Receiver()
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def tenant(stack: Stack) -> Client:
    return await stack.register("Attacked")


@pytest.fixture
def agent(stack: Stack, receiver: Receiver) -> Agent:
    return Agent(stack, receiver)


@pytest.fixture
def mallory(agent: Agent) -> Agent:
    return agent.another()


@pytest.fixture
async def web(stack: Stack) -> AsyncIterator[Receiver]:
    """The host of one did:web document: its `text`."""
    running = Receiver()
    await running.start()
    yield running
    await running.stop()
