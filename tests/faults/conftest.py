"""What the fault tests do once: there are tens of thousands of runs, and each would do it anew in each process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import lru_cache
from unittest.mock import patch

import pytest

from tests.log_watch import WATCH
from tntcore.dids import peer


@pytest.fixture(autouse=True, scope="package")
def documents_are_read_once() -> Iterator[None]:
    """A did:peer always says the same."""
    with (
        patch.object(peer, "resolve", lru_cache(1024)(peer.resolve)),
        patch.object(peer, "resolve_4_forms", lru_cache(1024)(peer.resolve_4_forms)),
    ):
        yield


@pytest.fixture
def logs_are_watched_alone() -> Iterator[None]:
    """What is logged is looked through for secrets. To keep it as well, as pytest does for a test that fails, keeps all
    that died: a record of an exception holds the whole process.
    """
    levels = {handler: handler.level for handler in logging.getLogger().handlers if handler is not WATCH}
    for handler in levels:
        handler.setLevel(logging.CRITICAL + 1)
    yield
    for handler, level in levels.items():
        handler.setLevel(level)
