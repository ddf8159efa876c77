from __future__ import annotations

import pytest

from tntcore.rate_limits import Allowance, Pace


def test_a_burst_and_then_one_at_a_time() -> None:
    now = [0.0]
    allowance = Allowance(lambda: now[0], burst=3, seconds=10)
    assert [allowance.take("a") for _ in range(5)] == [True] * 3 + [False] * 2
    assert allowance.take("b")
    now[0] = 9.9
    assert not allowance.take("a")
    now[0] = 10.1
    assert [allowance.take("a") for _ in range(2)] == [True, False]
    # What is not used is not saved beyond the burst.
    now[0] = 1000
    assert [allowance.take("a") for _ in range(4)] == [True] * 3 + [False]


def test_asking_in_vain_costs_nothing() -> None:
    now = [0.0]
    allowance = Allowance(lambda: now[0], burst=1, seconds=10)
    taken = 0
    for tenth in range(1000):
        now[0] = tenth / 10
        taken += allowance.take("a")
    assert taken == 10


def test_it_remembers_so_many() -> None:
    allowance = Allowance(lambda: 0.0, burst=1, seconds=1, maximum=2)
    assert [allowance.take(key) for key in "aabba"] == [True, False, True, False, False]
    assert allowance.take("c")
    # "b" was used longest ago.
    assert [allowance.take(key) for key in "acb"] == [False, False, True]


def paced(maximum: int = 100) -> tuple[Pace, list[float]]:
    clock = [1000.0]
    return Pace(lambda: clock[0], maximum=maximum), clock


def test_a_minutes_worth_at_once_and_then_one_at_a_time() -> None:
    pace, clock = paced()
    assert [pace.take("a", 60) for _ in range(60)] == [0.0] * 60
    assert pace.take("a", 60) == pytest.approx(1)
    assert pace.take("b", 60) == 0
    clock[0] += 0.5
    assert pace.take("a", 60) == pytest.approx(0.5)
    clock[0] += 0.6
    assert pace.take("a", 60) == 0
    assert pace.take("a", 60) > 0
    clock[0] += 3600
    assert sum(pace.take("a", 60) == 0 for _ in range(100)) == 60


def test_turns() -> None:
    """Whoever is over the limit has a turn, at the limit's pace, and who comes later stands behind."""
    pace, clock = paced()
    assert [pace.reserve("a", 60) for _ in range(60)] == [0.0] * 60
    assert [pace.reserve("a", 60) for _ in range(3)] == pytest.approx([1, 2, 3])
    clock[0] += 2
    assert pace.reserve("a", 60) == pytest.approx(2)
    assert pace.reserve("b", 60, 120) == pytest.approx(60)
    assert pace.take("b", 60) == pytest.approx(61)


def test_no_limit_and_no_memory_without_end() -> None:
    pace, _ = paced(maximum=3)
    assert [pace.take("a", 0) for _ in range(1000)] == [0.0] * 1000
    for name in "abcd":
        assert pace.take(name, 1) == 0
    assert len(pace._used_until) == 3
    assert pace.take("d", 1) > 0


def test_asking_how_long_takes_nothing() -> None:
    pace, clock = paced()
    assert pace.wait("a", 2) == 0
    assert [pace.take("a", 2) for _ in range(2)] == [0, 0]
    for _ in range(3):
        assert pace.wait("a", 2) == pytest.approx(30)
    assert pace.wait("b", 2) == pace.wait("a", 0) == 0
    clock[0] += 31
    assert pace.wait("a", 2) == 0
    assert pace.take("a", 2) == 0
    assert pace.wait("a", 2) == pytest.approx(29)
