"""Two real processes of the service on one storage, under load, while receivers and senders misbehave: one process is
killed at random moments, and storage stands still, and is ended and started again."""

from __future__ import annotations

import sys
from pathlib import Path

from devtools.soak.__main__ import alone
from devtools.soak.counts import STOPPED
from devtools.soak.options import Options
from devtools.soak.part import ORPHANS, RESTARTS


async def test_nothing_is_lost_or_doubled_by_what_befalls_processes(tmp_path: Path) -> None:
    options = Options(
        messages=400,
        under_way=20,
        latest=120,
        large=10,
        failing_every=2,
        kill_every=6,
        pause_every=7,
        pause=1.5,
        restart_after=5,
    )
    result = await alone(options, tmp_path)
    assert result.accepted == 400
    assert (result.lost, result.doubled) == ([], [])
    assert result.done[RESTARTS] == 1
    assert not result.left


async def test_nothing_is_lost_or_left_by_processes_that_are_told_to_stop(tmp_path: Path) -> None:
    """As a platform does at each deployment. What began is finished, so nothing waits for a lease or the sweeper."""
    options = Options(messages=sys.maxsize, under_way=20, latest=120, large=10, kill_every=3, ends=1, stops=1)
    result = await alone(options, tmp_path)
    assert result.accepted
    assert (result.lost, result.doubled) == ([], [])
    assert not result.done[ORPHANS]
    assert not result.left
    assert result.done[STOPPED] > 1
    assert result.stopping > 0
