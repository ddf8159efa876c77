"""The world of the tests of Presentation Exchange."""

import pytest

from tests.unit.credentials.dif.world import World
from tests.unit.credentials.ld import Dids
from tntcore.workers import Workers


@pytest.fixture
def dids() -> Dids:
    return Dids()


@pytest.fixture
def world(workers: Workers, dids: Dids) -> World:
    return World(workers, dids)
