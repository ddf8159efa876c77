from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from devtools.azurite import Azurite
from tests.stack import Client, Stack

# On a fresh machine hypothesis first builds its table of Unicode, which it then takes for a slow strategy.
settings.register_profile("project", settings(), suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    with Azurite() as running:
        yield running


@pytest.fixture(scope="session")
async def stack(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("keys")
    running = Stack(azurite.connection_string, folder)
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def pair(stack: Stack) -> tuple[Client, Client]:
    """Two tenants that do not know each other yet."""
    return await stack.register("Acme"), await stack.register("Bolt")
