"""What a soak counts, and keeps from one part to the next."""

from __future__ import annotations

from pathlib import Path

from devtools.soak.__main__ import Soak
from devtools.soak.counts import AGAIN, Count, report
from devtools.soak.field import Field, Target
from tntcore.tenancy.recipients import KeyPairs


def test_a_message_arrives_once_however_often_its_call_comes() -> None:
    count = Count()
    count.accepted |= {1, 2, 3}
    assert count.arrive(1, "a")
    assert not count.arrive(1, "a")
    assert count.arrive(2, "b")
    assert not count.arrive(2, "other")
    assert (count.lost, count.doubled, count.done[AGAIN]) == ([3], [2], 1)
    result = count.result(10)
    assert result.failed
    assert (result.accepted, result.arrived, result.lost, result.doubled) == (3, 2, [3], [2])


def test_a_soak_goes_on_where_it_ended(tmp_path: Path) -> None:
    keys = KeyPairs.generate()
    target = Target({"tnt-subscription-key": "secret"}, "connection", keys, "verkey")
    soak = Soak(tmp_path)
    assert soak.load() is None
    for _ in range(2):
        count = Count()
        count.done["faults"] = 2
        for number in range(10):
            count.accepted.add(number)
            count.arrive(number, str(number))
        soak.results.append(count.result(2))
    soak.keep(Field("http://127.0.0.1:1", 2, {"tnt-operator-key": "key"}, [target]))

    again = Soak(tmp_path)
    field = again.load()
    assert again.results == soak.results
    assert field is not None
    [read] = field.targets
    assert (read.connection, read.keys.verkey, read.verkey) == ("connection", keys.verkey, "verkey")
    said = " ".join(report(again.results).split())
    assert "| messages accepted | 20 |" in said
    assert "| **lost** | **0** |" in said
    assert "| faults | 4 |" in said
