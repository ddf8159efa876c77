"""Fixtures of the command line's scenarios."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.scenarios.cli.tool import Tool, Wire, register
from tests.stack import Stack


@pytest.fixture
def operator(stack: Stack, tmp_path: Path) -> Tool:
    return Tool(stack.url, tmp_path, {"TNT_OPERATOR_KEY": stack.operator["tnt_operator_key"]})


@pytest.fixture
async def wire(stack: Stack) -> AsyncIterator[Wire]:
    made = Wire(stack)
    await made.mend()
    yield made
    await made.cut()


@pytest.fixture
async def acme(stack: Stack, tmp_path: Path) -> Tool:
    """Connected with nobody."""
    return (await register(stack, tmp_path, "Acme"))[0]


@pytest.fixture
async def pair(stack: Stack, tmp_path: Path) -> tuple[Tool, Tool]:
    """Two tenants, connected; each knows the other by its name."""
    (acme, one), (bolt, other) = await register(stack, tmp_path, "Acme"), await register(stack, tmp_path, "Bolt")
    made = await one.post("invitation", {})
    await other.post("contact", {"invitationUrl": made["invitationUrl"]})

    async def connected() -> bool:
        hits = (await one.get("connection"))["hits"] + (await other.get("connection"))["hits"]
        return len(hits) == 2 and all(each["state"] == "completed" for each in hits)

    await stack.eventually(connected)
    return acme, bolt
