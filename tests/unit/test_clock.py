"""A machine's clock that is wrong is corrected by the storage account's."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tntcore.clock import TOLERANCE, Clock

NOW = 1_700_000_000_123


class World:
    """The true time, and a machine's clock that is `wrong` by milliseconds."""

    def __init__(self, wrong: int = 0) -> None:
        self.true = NOW
        self.wrong = wrong
        self.clock = Clock(lambda: self.true + self.wrong, lambda: self.true / 1000)

    @property
    def error(self) -> int:
        return self.clock() - self.true

    def call(self, out: int = 10, back: int = 10, server: int = 0) -> None:
        """A call to a server whose clock is `server` milliseconds ahead. `out`, `back`: milliseconds on the way."""
        sent = self.clock.machine()
        self.true += out
        date = formatdate((self.true + server) // 1000, usegmt=True)
        self.true += back
        self.clock.answered(date, sent)


@given(
    wrong=st.integers(-86_400_000, 86_400_000),
    ways=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=3, max_size=20),
)
def test_whatever_the_clock_says_the_time_is_right_within_the_tolerance(
    wrong: int, ways: Sequence[tuple[int, int]]
) -> None:
    world = World(wrong)
    for out, back in ways:
        world.call(out, back)
        assert abs(world.error) <= TOLERANCE + 1_000
        world.true += 7_777


@given(wrong=st.integers(-TOLERANCE, TOLERANCE), ways=st.lists(st.integers(0, 400), max_size=20))
def test_a_clock_that_is_nearly_right_is_left_alone(wrong: int, ways: Sequence[int]) -> None:
    world = World(wrong)
    for way in ways:
        world.call(way, way)
        world.true += 6_543
        assert world.clock.offset == 0


def test_a_new_process_goes_by_its_first_answer() -> None:
    world = World(-3_600_000)
    world.call()
    assert abs(world.error) <= 510


@pytest.mark.parametrize("step", [-90_000, 90_000])
def test_a_clock_that_is_set_is_noticed_after_three_answers(step: int) -> None:
    world = World()
    world.call()
    world.true += 10_000
    world.wrong += step
    for _ in range(2):
        world.call()
        assert world.error == step
        assert world.clock.is_due, "the next answer is looked at, however soon"
    world.call()
    assert abs(world.error) <= 510
    # Who sets it right again, does.
    world.wrong = 0
    for _ in range(3):
        world.call()
    assert abs(world.error) <= 510


def test_one_answer_that_is_wrong_changes_nothing() -> None:
    world = World()
    for _ in range(5):
        world.call()
        world.call(server=-86_400_000)
    assert world.clock.offset == 0


def test_answers_that_do_not_agree_with_each_other_change_nothing() -> None:
    world = World()
    world.call()
    for hour in range(1, 10):
        world.call(server=hour * 3_600_000)
    assert world.clock.offset == 0


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 01 Jan 99999 00:00:00 GMT", "\x00"])
def test_what_is_no_date_is_ignored(date: str) -> None:
    world = World()
    world.clock.answered(date, world.clock.machine())
    assert world.clock.offset == 0


def test_an_answer_that_took_long_or_came_before_it_was_asked_for_is_ignored() -> None:
    world = World(60_000)
    world.call(out=5_100)
    assert world.clock.offset == 0
    world.clock.answered(formatdate(world.true // 1000, usegmt=True), world.clock.machine() + 1)
    assert world.clock.offset == 0


def test_answers_are_looked_at_every_five_seconds_only() -> None:
    world = World()
    assert world.clock.is_due
    world.call()
    assert not world.clock.is_due
    world.true += 5_000
    assert world.clock.is_due


@pytest.mark.parametrize(
    ("wrong", "words"), [(60_000, "60 s ahead of"), (-60_000, "60 s behind"), (1_200_000, "storage refuses")]
)
def test_it_is_told_once(caplog: pytest.LogCaptureFixture, wrong: int, words: str) -> None:
    world = World(wrong)
    world.true -= world.true % 1000 - 490
    with caplog.at_level(logging.WARNING):
        for _ in range(10):
            world.call()
            world.true += 5_000
    [record] = caplog.records
    assert words in record.getMessage()
