from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from devtools.azurite import Azurite
from tests.contract.cloud import CLIENT_ID, Certificate, IdentityEndpoint
from tests.contract.described import WRONG_CALLS
from tests.definition_keys import DefinitionKeys
from tests.log_watch import WATCH, install
from tests.stack import ROOT, Client, Stack, Stacks
from tntcore.cloud import Cloud
from tntcore.config import CloudIdentity

install()

_ACCOUNTS = [f"account{number}" for number in range(500)]  # many more than one process of a run takes

# Tests start many processes, and each would compile all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# What is started by a process that ignores Ctrl-C, as one in the background does, ignores it as well.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# On a fresh machine hypothesis first builds its table of Unicode, which it then takes for a slow strategy.
settings.register_profile("project", settings(), suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Returns twice as many processes as there are processors: tests wait about as long as they compute."""
    return 2 * (os.cpu_count() or 1)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keeps the collector from looking at all modules and tests again and again: a quarter of what tests compute."""
    gc.disable()
    collected = yield
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    gc.enable()
    return collected


@pytest.fixture(scope="session", autouse=True)
def nothing_secret_is_logged() -> Iterator[None]:
    """Looked at when all tests are over, in each process that ran some."""
    yield
    assert WATCH.found() == [], "something secret was logged at these places"


@pytest.fixture(autouse=True)
def webhooks_are_described() -> Iterator[None]:
    """Every call that came while the test ran; what a test before began may still come."""
    WRONG_CALLS.clear()
    yield
    assert WRONG_CALLS == [], "webhooks were called with what the API's description does not have"


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    with Azurite(accounts=_ACCOUNTS) as running:
        yield running


@pytest.fixture(scope="session")
def accounts(azurite: Azurite) -> Iterator[str]:
    """Connection strings of storage accounts with nothing in them."""
    return map(azurite.connection_string_of, _ACCOUNTS)


@pytest.fixture(scope="session")
def folder_of_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all processes of a run, which make there once what all may use."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def definition_keys(folder_of_run: Path) -> DefinitionKeys:
    return DefinitionKeys(folder_of_run)


@pytest.fixture(scope="session")
async def stacks(
    accounts: Iterator[str], tmp_path_factory: pytest.TempPathFactory, definition_keys: DefinitionKeys
) -> AsyncIterator[Stacks]:
    # tests/contract/worker is run with it.
    library = ROOT / "function_app.py" if os.environ.get("WORKER_LIBRARY") else None
    running = Stacks(accounts, partial(tmp_path_factory.mktemp, "keys"), definition_keys, library)
    yield running
    await running.stop()


@pytest.fixture(scope="module")
async def stack(stacks: Stacks) -> Stack:
    return await stacks.current()


@pytest.fixture
async def pair(stack: Stack) -> tuple[Client, Client]:
    """Two tenants that do not know each other yet."""
    return await stack.register("Acme"), await stack.register("Bolt")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate.make(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
async def endpoint(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[IdentityEndpoint]:
    """Where the managed identity `CLIENT_ID` gets its tokens, as the environment says."""
    async with IdentityEndpoint(CLIENT_ID) as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
async def cloud(endpoint: IdentityEndpoint, certificate: Certificate) -> AsyncIterator[Cloud]:
    """That identity, which trusts the certificate of the tests alone."""
    opened = Cloud(CloudIdentity(managed=True, client_id=CLIENT_ID), certificate.trust)
    yield opened
    await opened.close()
