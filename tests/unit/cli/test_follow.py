from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest

from tntcore.cli.errors import ServiceRefused, Unreachable
from tntcore.cli.follow import OVERLAP, Hit, News, follow, latest, patiently, time_of

T = 1_800_000_000.0


def hit(at: float, name: int = 0) -> dict[str, Any]:
    """With a uuid of version 7 of that time."""
    text = f"{round(at * 1000):012x}"
    return {"uuid": f"{text[:8]}-{text[8:]}-7000-8000-{name:012x}"}


def test_the_time_in_a_uuid() -> None:
    assert time_of(hit(T + 0.25)) == T + 0.25
    assert time_of({"uuid": "no uuid"}) == 0


def test_each_once_in_order_whatever_overlaps_and_comes_late() -> None:
    """Messages become visible up to a minute after their place in the order."""
    chance = random.Random(7)
    visible = sorted((at + chance.uniform(0, OVERLAP - 1), number) for number in range(300) for at in [T + number])
    news, got, asked = News(T), [], []
    for now in range(int(T), int(T) + 400):
        there = [hit(T + number, number) for seen_at, number in visible if seen_at <= now]
        asked.append(sum(time_of(one) >= news.since for one in there))
        fresh = news.among([one for one in there if time_of(one) >= news.since - 5])
        assert fresh == sorted(fresh, key=lambda one: str(one["uuid"]))
        got += [one["uuid"] for one in fresh]
    assert len(got) == len(set(got)) == 300
    assert len(news._seen) < 2 * OVERLAP, "what is long over is forgotten"
    assert max(asked) < 2 * OVERLAP


def test_what_was_seen_at_the_beginning_is_no_news() -> None:
    news = News(T, [hit(T - 30, 1)])
    assert news.among([hit(T - 30, 1), hit(T - 20, 2)]) == [hit(T - 20, 2)]


@pytest.mark.parametrize(("number", "windows"), [(3, 1), (15, 2), (10_000, 6)])
def test_the_newest_without_reading_everything(number: int, windows: int) -> None:
    every = [hit(T - age * 100, age) for age in range(1000, 0, -1)]
    asked = []

    def fetch(begin: float) -> Iterable[Hit]:
        asked.append(begin)
        return [one for one in every if time_of(one) >= begin]

    assert latest(fetch, T, number) == every[-number:]
    assert len(asked) == windows
    assert latest(fetch, T, None) == every


def test_it_goes_on_when_the_service_was_away_and_ends_when_it_is_refused() -> None:
    answers: list[Any] = [
        [hit(T + 1, 1)],
        Unreachable("away"),
        ServiceRefused({"title": "full", "status": 503, "detail": ""}),
        [hit(T + 1, 1), hit(T + 2, 2)],
        ServiceRefused({"title": "key unknown", "status": 401, "detail": ""}),
    ]
    slept: list[float] = []
    notes: list[str] = []

    def fetch(begin: float) -> Iterable[Hit]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return list(answer)

    following = follow(fetch, News(T), slept.append, notes.append)
    got = [next(following), next(following)]
    with pytest.raises(ServiceRefused, match="key unknown"):
        next(following)
    assert got == [hit(T + 1, 1), hit(T + 2, 2)]
    assert slept == [2, 2, 4, 2], "longer each time that it is away"
    assert [note.partition(" (")[0] for note in notes] == ["the service cannot be reached", "the service answers again"]


def test_a_suspension_is_waited_out() -> None:
    suspended = {"type": "urn:tnt:problem:tenant-suspended", "title": "suspended", "status": 403, "detail": ""}
    answers: list[Any] = ["there", ServiceRefused(suspended)]
    notes: list[str] = []

    def ask() -> str:
        if isinstance(answer := answers.pop(), Exception):
            raise answer
        return str(answer)

    assert patiently(ask, lambda seconds: None, notes.append) == "there"
    assert len(notes) == 2


def test_patience_has_a_longest_pause() -> None:
    left, slept = [Unreachable("x")] * 10, list[float]()

    def ask() -> str:
        if left:
            raise left.pop()
        return "there"

    assert patiently(ask, slept.append, lambda note: None) == "there"
    assert slept[-1] == 30
