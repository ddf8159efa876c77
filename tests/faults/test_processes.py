"""Two real processes of the service on one storage: one is killed at random moments, storage stands still, and is ended
and started again, under load, while the receiver and the senders misbehave."""

from __future__ import annotations

import sys

from devtools.soak.__main__ import Options, Soak


async def test_nothing_is_lost_or_doubled_by_what_befalls_processes() -> None:
    options = Options(
        messages=400, under_way=20, latest=120, kill_every=6, pause_every=7, pause=1.5, restart_after=5, hanging=0
    )
    count, _ = await Soak(options).run()
    assert len(count.accepted) == 400
    assert (count.lost, count.doubled) == ([], [])
    assert count.done["times that storage was ended"] == 1
    assert not +count.left


async def test_nothing_is_lost_or_left_by_processes_that_are_told_to_stop() -> None:
    """As a platform does at each deployment. What began is finished, so nothing waits for a lease or the sweeper."""
    options = Options(
        messages=sys.maxsize,
        under_way=20,
        latest=120,
        kill_every=3,
        pause_every=1e9,
        hanging=0,
        failing=0,
        ends=1,
        stops=1,
    )
    count, _ = await Soak(options).run()
    assert count.accepted
    assert (count.lost, count.doubled) == ([], [])
    assert not +count.left
    assert len(count.stopping) > 1
