from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tntcore.workers import Workers


@pytest.fixture(scope="session")
async def workers() -> AsyncIterator[Workers]:
    pool = Workers(1, seconds=300)  # so that a busy machine is late and not wrong
    yield pool
    await pool.close()
