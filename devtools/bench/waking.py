"""Hooks of `python -m devtools.host`: the host looks into a queue as soon as the service has put something there."""

from __future__ import annotations

import function_app
from devtools.host.host import Host


async def on_start(host: Host) -> None:
    function_app.service.on_put = host.wake
