import os
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tntcore.messaging.ids import UuidFactory, time_of


@given(st.lists(st.integers(0, 2**48 - 10_000), min_size=1, max_size=50), st.sampled_from([b"\x00", b"\xff", b"\x7f"]))
def test_strictly_increasing_whatever_the_clock_does(times: list[int], fill: bytes) -> None:
    clock = iter(times)
    make = UuidFactory(lambda: next(clock), lambda size: fill * size)
    made = [make() for _ in times]
    assert made == sorted(set(made))
    assert [time_of(text) for text in made] == [max(times[: n + 1]) for n in range(len(times))]
    for text in made:
        value = uuid.UUID(text)
        assert (value.version, value.variant, str(value)) == (7, uuid.RFC_4122, text)


def test_a_millisecond_that_is_used_up_runs_into_the_next() -> None:
    make = UuidFactory(lambda: 5, lambda size: b"\xff" * size)
    first = make()
    make._counter = (1 << 74) - 2
    second = make()
    assert first < second
    assert time_of(second) == 6


def test_threads_do_not_make_the_same_one() -> None:
    make = UuidFactory(lambda: 5, os.urandom)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: make(), range(4000)))
    assert len(set(made)) == 4000


@pytest.mark.parametrize("text", ["", "x", str(uuid.UUID(int=0)), "2b3b6cb4-7a50-4b5f-9f62-9b3f8d5d0a11"])
def test_time_of_another_kind(text: str) -> None:
    with pytest.raises(ValueError):
        time_of(text)
