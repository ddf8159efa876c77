"""Fixtures of several scenarios."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.scenarios.agent import Agent
from tests.scenarios.silent import SilentReceiver
from tests.stack import Client, Receiver, Stack


@pytest.fixture
async def acme(stack: Stack) -> Client:
    return await stack.register("Acme")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    await receiver.start()
    yield receiver
    await receiver.stop()


@pytest.fixture
def agent(stack: Stack, receiver: Receiver) -> Agent:
    return Agent(stack, receiver)


@pytest.fixture
async def silent() -> AsyncIterator[SilentReceiver]:
    receiver = SilentReceiver()
    await receiver.start()
    yield receiver
    await receiver.stop()
