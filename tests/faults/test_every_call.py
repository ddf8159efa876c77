"""The process dies before each of its calls that change something, one at a time, and each call fails in each way that
it can: whatever happens, nothing is lost and nothing has its effect twice, as seen by receivers that dedupe.

Why these are all the points at which it can die: see `world`.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.faults.endings import DECIDED, ENDED
from tests.faults.exchanges import EXCHANGES, LONG
from tests.faults.flows import FLOWS, Flow
from tests.faults.process import Fault
from tests.faults.world import World, run

KINDS: tuple[Fault, ...] = ("kill", "fail", "lost", "twice")
CASES = [
    *itertools.product((*FLOWS, *ENDED, *EXCHANGES[:1]), KINDS),
    *itertools.product((*EXCHANGES[1:], *LONG, *DECIDED), KINDS[:1]),
]


@pytest.mark.usefixtures("logs_are_watched_alone")
@pytest.mark.parametrize(("flow", "kind"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_nothing_is_lost_and_nothing_happens_twice(flow: type[Flow], kind: Fault, tmp_path: Path) -> None:
    run(lambda: every_call(World(tmp_path), flow, kind))


async def every_call(world: World, flow: type[Flow], kind: Fault) -> None:
    case = flow(world)
    await case.prepare()
    await world.settle()
    world.keep()
    for number in itertools.count(1):
        try:
            if not await one(world, case, kind, number):
                break
        except (AssertionError, TimeoutError, LookupError, ValueError) as error:
            error.add_note(f"{kind} at call {number} of its sort; the calls: {world.trace}")
            raise
    assert number > 5


async def one(world: World, case: Flow, kind: Fault, number: int) -> bool:
    """A run with a fault at one call; whether there was such a call. One that only reads can do no more than fail."""
    met = 0

    def plan(name: str, writes: bool) -> Fault | None:
        nonlocal met
        met += writes or kind == "fail"
        return kind if met == number and (writes or kind == "fail") else None

    world.rewind()
    world.plan = plan
    await case.act()
    await world.settle()
    if case.large:
        # What a process left that died before anything named it is found.
        await world.pass_days(8)
        await world.settle()
    world.plan = lambda name, writes: None
    # Of memory, nothing may be needed.
    world.restart()
    await case.check()
    await world.assert_at_rest(*case.clients, failed=case.failed)
    return met >= number
