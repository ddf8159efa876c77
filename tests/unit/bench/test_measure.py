"""What the benchmark makes of its measurements."""

from __future__ import annotations

import json
import math

import pytest

from devtools.bench.__main__ import SCENARIOS, parse
from devtools.bench.cold import ColdStart
from devtools.bench.cold import show as show_cold_starts
from devtools.bench.costs import costs
from devtools.bench.measure import Result, Snapshot, Usage, hosted, percentile, show, storage_calls, summarise, table
from devtools.bench.stack import busy_ticks, cpu_ticks, peak_memory


def result() -> Result:
    before = Snapshot(10.0, {"service": Usage(1.0, 50), "load": Usage(0.5, 5)}, {"table.rows": 100, "queue.put": 7}, 90,
                      hosted({"didcomm": 3, "web_api": 8}, {}, 2))  # fmt: skip
    after = Snapshot(
        12.0,
        {"service": Usage(1.008, 60), "load": Usage(0.502, 6)},
        {"table.rows": 120, "queue.put": 9, "queue.get_empty": 4, "table.get": 0},
        91.01,
        hosted({"didcomm": 7, "inbound": 2, "web_api": 8}, {"inbound": 4}, 2),
    )
    return summarise(
        "some",
        before,
        after,
        posted=[9.0, 10.0, 10.5, 11.0, 11.9, 12.1],
        answered=[9.5, 10.1, 10.6, 11.1, 12.0, 0.0],
        arrived=[10.0, 10.2, 10.8, 11.4, 12.3, 0.0],
        lost=1,
        twice=2,
        refused={503: 1},
        poll=0.0003,
    )


def test_only_what_happened_between_the_snapshots_counts() -> None:
    found = result()
    assert found.seconds == 2.0
    assert found.accepted == 1.5
    assert found.messages == 4
    assert found.relayed == 2.0
    assert found.p50 == pytest.approx(300)
    assert found.p95 == pytest.approx(400)
    assert found.first == 1000
    assert found.waiting == 0
    assert (found.lost, found.twice, found.refused) == (1, 2, {"503": 1})


def test_cold_starts_are_shown_by_their_medians() -> None:
    starts = [ColdStart(400, at, 700, at + 100, 90e6, 120e6) for at in (900, 1000, 2000)]
    shown = show_cold_starts(starts)
    [relayed] = [line.split("|")[2:5] for line in shown.splitlines() if "relayed" in line]
    assert [int(value) for value in relayed] == [1100, 1000, 2100]
    [memory] = [line.split("|")[2:5] for line in shown.splitlines() if "memory then" in line]
    assert [int(value) for value in memory] == [90, 90, 90]


def test_cpu_is_per_message_and_per_second_and_the_rest_of_the_machine_is_noise() -> None:
    found = result()
    assert found.cpu == {"service": pytest.approx(2.0), "load": pytest.approx(0.5)}
    assert found.busy == {"service": pytest.approx(0.004), "load": pytest.approx(0.001)}
    assert found.others == pytest.approx(0.5)
    assert found.peak == {"service": 60, "load": 6}
    assert found.polling == pytest.approx(0.3)


def test_rows_are_no_calls_and_empty_polls_are_told_apart() -> None:
    found = result()
    assert found.operations == {"table.rows": 5.0, "queue.put": 0.5, "queue.get_empty": 1.0}
    assert found.calls == 1.5
    assert found.polls == 1.0


def test_invocations_and_stages_are_per_message() -> None:
    found = result()
    assert found.hosted == {
        "invocations of didcomm": 1.0,
        "invocations of inbound": 0.5,
        "stages on queue inbound": 1.0,
    }
    assert (found.all_hosted("invocations"), found.all_hosted("stages")) == (1.5, 1.0)
    assert [line for line in show([found]).splitlines() if line.startswith("| log records")] == [
        "| log records             |     - |"
    ]


def test_nothing_relayed_is_shown_and_not_divided_by() -> None:
    snapshot = Snapshot(0.0, {"service": Usage(0, 0)}, {"queue.get_empty": 1})
    found = summarise("idle", snapshot, Snapshot(1.0, {"service": Usage(1, 0)}, {"queue.get_empty": 2}),
                      posted=[], answered=[], arrived=[], lost=0, twice=0, refused={})  # fmt: skip
    assert found.relayed == 0
    assert math.isnan(found.p50)
    assert math.isnan(found.cpu["service"])
    assert "idle" in show([found])
    assert json.loads(json.dumps(found.json(), allow_nan=False))["cpu"] == {"service": None}


def test_what_was_accepted_and_had_not_arrived_is_waiting() -> None:
    edges = Snapshot(0.5, {}, {}), Snapshot(10.0, {}, {})
    found = summarise("some", *edges, posted=[1, 1, 1, 11], answered=[2, 2, 0, 12], arrived=[3, 11, 0, 0],
                      lost=0, twice=0, refused={})  # fmt: skip
    assert found.waiting == 1


def test_storage_calls_are_those_of_both_halves() -> None:
    service = {"queue.put": 3, "table.rows": 9, "inbound.stored": 5, "blob.get": 1}
    host = {"queue.get": 10, "queue.get_empty": 4, "queue.delete": 3}
    assert storage_calls(service, host) == {
        "queue.put": 3,
        "table.rows": 9,
        "blob.get": 1,
        "queue.get": 6,
        "queue.get_empty": 4,
        "queue.delete": 3,
    }


def test_percentiles_are_of_the_nearest_rank() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, percent) for percent in (0, 50, 95, 99, 100)] == [1, 50, 95, 99, 100]
    assert percentile([3.0], 50) == 3.0
    assert math.isnan(percentile([], 50))


def test_a_table_is_aligned() -> None:
    assert table(["name", "n"], [["a", "1"], ["longer", "100"]]).splitlines() == [
        "| name   |   n |",
        "| ------ | --: |",
        "| a      |   1 |",
        "| longer | 100 |",
    ]


def test_what_is_shown_has_every_scenario_and_what_was_refused() -> None:
    shown = show([result()])
    assert "some: refused, by status: {'503': 1}" in shown
    assert "| calls but for empty polls" in shown


def test_a_process_whose_name_looks_like_fields_is_read() -> None:
    fields = ["S", *(str(number) for number in range(4, 53))]
    assert cpu_ticks(f"7 (a) b 1 2) {' '.join(fields)}") == 14 + 15
    assert peak_memory("Name:\tnode\nVmHWM:\t  145 kB\nVmRSS:\t 1 kB\n") == 145 * 1024
    assert busy_ticks("cpu  1 2 4 1000 1000 8 16 32 99 99\ncpu0 9 9 9 9 9 9 9 9 9 9\n") == 63


def test_the_command_line() -> None:
    assert parse([]).only == list(SCENARIOS)
    assert parse(["--only", "none"]).only == []
    assert parse(["--quick"]).seconds == 2
    # A cold start is measured with all the others, or if it is asked for.
    assert [parse(["--only", name]).cold_starts > 0 for name in ("16", "none", "cold")] == [False, False, True]
    assert parse([]).cold_starts > parse(["--quick"]).cold_starts > 0
    assert parse(["--only", "cold"]).only == []
    assert (parse([]).processes, parse(["--processes", "2", "--processes", "4"]).processes) == ([1], [2, 4])
    with pytest.raises(SystemExit):
        parse(["--profile", "x"])
    with pytest.raises(SystemExit):
        parse(["--processes", "0"])


async def test_every_step_of_a_message_can_be_measured() -> None:
    found = {cost.feature: cost for cost in await costs(rounds=1, each=1)}
    assert found["transaction: encode a row"].times == 5
    assert all(cost.each >= 0 for cost in found.values())
