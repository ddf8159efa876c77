import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import azure.functions as func
import pytest

from devtools.host.settings import SettingsError
from devtools.host.timers import Schedule
from tests.unit.host.conftest import Running


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "moment", "expected"),
    [
        ("* * * * * *", "2026-01-01T00:00:00.5", "2026-01-01T00:00:01"),
        ("*/15 * * * * *", "2026-01-01T00:00:15", "2026-01-01T00:00:30"),
        ("0 */5 * * * *", "2026-01-01T00:59:59", "2026-01-01T01:00:00"),
        ("0 30 9 * * mon-fri", "2026-01-02T09:30:00", "2026-01-05T09:30:00"),
        ("0 0 0 1 jan *", "2026-01-01T00:00:00", "2027-01-01T00:00:00"),
        ("0 0 0 13 * 5", "2026-01-01T00:00:00", "2026-02-13T00:00:00"),
        ("0 0 0 29 2 *", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("5,10 1-3/2 2 * * 0", "2026-01-04T02:01:05", "2026-01-04T02:01:10"),
        ("0 50/5 * * * *", "2026-01-01T00:50:00", "2026-01-01T00:55:00"),
        ("30 4 * * *", "2026-01-01T00:00:00", "2026-01-01T04:30:00"),
    ],
)
def test_next_occurrence(expression: str, moment: str, expected: str) -> None:
    assert Schedule(expression).next_after(at(moment)) == at(expected)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "* * * *",
        "60 * * * * *",
        "* * * 0 * *",
        "* * * * * 7",
        "*/0 * * * * *",
        "5-1 * * * * *",
        "? * * * * *",
        "00:05:00",
    ],
)
def test_what_is_not_understood_is_refused(expression: str) -> None:
    with pytest.raises(SettingsError, match="schedule"):
        Schedule(expression)


def test_a_day_that_never_comes() -> None:
    with pytest.raises(SettingsError, match="never"):
        Schedule("0 0 0 31 2 *").next_after(at("2026-01-01"))


async def test_runs_on_startup_then_by_schedule_and_never_twice_at_once(
    running: Running, eventually: Callable[..., Any]
) -> None:
    app = func.FunctionApp()
    runs: list[str] = []
    active: list[int] = []

    @app.timer_trigger(arg_name="timer", schedule="* * * * * *", run_on_startup=True)
    async def tick(timer: func.TimerRequest) -> None:
        active.append(1)
        runs.append(f"{timer.past_due} {len(active)}")
        await asyncio.sleep(1.2)
        active.pop()

    async with running(app):
        assert runs == []
        await eventually(lambda: len(runs) == 2)
    assert runs == ["False 1", "False 1"]


async def test_a_failing_timer_goes_on(running: Running, eventually: Callable[..., Any]) -> None:
    app = func.FunctionApp()
    runs: list[int] = []

    @app.timer_trigger(arg_name="timer", schedule="* * * * * *", run_on_startup=True)
    def tick(timer: func.TimerRequest) -> None:
        runs.append(1)
        raise RuntimeError("this time")

    async with running(app):
        await eventually(lambda: len(runs) == 2)
