"""The console at `/api/console` in a headless Chromium: every screen is shown, and every action is done once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson

from devtools import console
from tests.browser.visits import visit
from tests.stack import Client, Stack

VISIT = Path(__file__).with_name("visit_console.mjs")


async def test_the_bundle_is_what_its_source_makes() -> None:
    """If it fails: `make console`, and commit the file."""
    assert await asyncio.to_thread(console.bundle) == (console.SERVED / "console.js").read_bytes()


async def test_the_console(stack: Stack, pair: tuple[Client, Client], tmp_path: Path) -> None:
    acme, _bolt = pair
    given = {"key": acme.key, "operator": stack.operator["tnt_operator_key"]}
    await asyncio.to_thread(console.install)
    seen = await visit(VISIT, f"{stack.url}/api/console", str(tmp_path), orjson.dumps(given).decode())
    check_manners(seen, stack.url, acme.key)


def check_manners(seen: dict[str, Any], url: str, key: str) -> None:
    """What holds on every screen."""
    assert [asked for asked in seen["requests"] if not asked.startswith((f"{url}/", "data:", f"blob:{url}/"))] == []
    assert key not in orjson.dumps(seen["requests"]).decode()
    assert [said for said in seen["complaints"] if "policy" in said.lower() or "Error" in said] == []
    for name, screen in seen["screens"].items():
        assert screen["serious"] == [], name
        assert not screen["tooWide"], f"{name} scrolls sideways at 390 px"
    policy = seen["headers"]["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
