"""A clock that tests set: what the service counts in days passes at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tntcore.app import App

HOUR = 3_600_000
DAY = 24 * HOUR


class Clock:
    """The app's own time, and `ahead` milliseconds more."""

    def __init__(self, app: App, patch: pytest.MonkeyPatch) -> None:
        self.ahead = 0
        real = app.services
        moved = replace(real, now=lambda: real.now() + self.ahead)
        relay = app.relay
        for part in (relay, relay._attempts, relay._watch, relay._replays, app.outbound._attempts):
            patch.setattr(part, "_services", moved)
