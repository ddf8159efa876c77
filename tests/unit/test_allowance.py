from __future__ import annotations

from tntcore.allowance import Allowance


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
