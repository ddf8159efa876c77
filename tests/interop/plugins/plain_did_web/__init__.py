"""A plugin for ACA-Py: did:web is fetched by http, as nobody has a certificate for an address on this machine.

It is run by the agent's Python, not by this project's.
"""

from __future__ import annotations

import importlib
from typing import Any

_web: Any = importlib.import_module("acapy_agent.resolver.default.web")
_valid: Any = importlib.import_module("acapy_agent.messaging.valid")


async def setup(context: Any) -> None:
    """What ACA-Py looks for in a plugin."""


class _Plain:
    """aiohttp's module with a session whose URLs are by http."""

    class ClientSession(_web.aiohttp.ClientSession):  # type: ignore[misc]
        def get(self, url: str, **given: Any) -> Any:
            return super().get(url.replace("https://127.0.0.1:", "http://127.0.0.1:"), **given)


_web.aiohttp = _Plain
