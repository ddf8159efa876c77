"""What was measured, and how it is shown. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PROCESSES = ("service", "azurite", "load")
_CALLS = ("table.", "queue.", "blob.")
_ROWS = "table.rows"
_EMPTY = "queue.get_empty"
RECORDS = "log records"


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a process, since it began: CPU in seconds, the most memory it ever had in bytes."""

    cpu: float
    peak: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """At one moment: the processes' usage by name, storage calls so far by kind, what CPU the whole machine has spent
    so far, in seconds (NaN where that is not known), and what the real host would have done so far (`hosted`)."""

    time: float
    usage: Mapping[str, Usage]
    calls: Mapping[str, int]
    machine: float = math.nan
    hosted: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """One scenario. Times in milliseconds.

    Attributes:
        accepted, relayed: messages per second, between the two snapshots.
        p50, p95, p99: from the beginning of a POST to the webhook, of the messages posted in that time.
        first: the same of the first message of all, which finds every cache empty.
        waiting: accepted and not yet relayed at the end.
        lost: accepted and never relayed. twice: webhook calls too many. refused: answers other than 202, by status.
        cpu: milliseconds per relayed message, by process. busy: CPU seconds per second, by process.
        polling: the milliseconds of `cpu` that the service spent on looking into empty queues.
        others: CPU seconds per second that the machine spent on anything else: noise.
        peak: bytes, by process.
        operations: storage calls and rows per relayed message, by kind.
        hosted: the same of what the real host does, by kind: see `hosted`.
    """

    name: str
    seconds: float
    messages: int
    accepted: float
    relayed: float
    p50: float
    p95: float
    p99: float
    first: float
    waiting: int
    lost: int
    twice: int
    refused: Mapping[str, int]
    cpu: Mapping[str, float]
    polling: float
    busy: Mapping[str, float]
    others: float
    peak: Mapping[str, int]
    operations: Mapping[str, float] = field(default_factory=dict)
    hosted: Mapping[str, float] = field(default_factory=dict)

    @property
    def calls(self) -> float:
        """Storage calls per message: rows are no calls."""
        return sum(value for kind, value in self.operations.items() if kind != _ROWS)

    @property
    def polls(self) -> float:
        """Of the calls, those that looked into an empty queue: they cost no message anything."""
        return self.operations.get(_EMPTY, 0.0)

    def all_hosted(self, begins: str) -> float:
        """The sum of `hosted` over the kinds that begin like this."""
        return sum(value for kind, value in self.hosted.items() if kind.startswith(begins))

    def json(self) -> dict[str, Any]:
        """As JSON has it, where NaN is null."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: _without_nan(value) for name, value in fields.items()} | {
            "calls": _without_nan(self.calls),
            "polls": _without_nan(self.polls),
        }


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nan(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile; NaN of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)]


def storage_calls(service: Mapping[str, int], host: Mapping[str, int]) -> dict[str, int]:
    """Calls by kind, of both halves of the process: the service's own, and the host's, which reads its queues.

    `queue.get` are those that found something, `queue.get_empty` those that did not.
    """
    calls = {kind: count for kind, count in service.items() if kind.startswith(_CALLS)}
    for kind, count in host.items():
        calls[kind] = calls.get(kind, 0) + count
    if "queue.get" in calls:
        calls["queue.get"] -= calls.get(_EMPTY, 0)
    return calls


def hosted(invocations: Mapping[str, int], stages: Mapping[str, int], records: int) -> dict[str, int]:
    """What costs most where the host and its worker are processes of their own.

    Args:
        invocations: by function. stages: items by the queue that they were put on: a queue message is a list of them.
        records: log records of the worker.
    """
    return {
        **{f"invocations of {name}": count for name, count in invocations.items()},
        **{f"stages on queue {name}": count for name, count in stages.items()},
        RECORDS: records,
    }


def summarise(
    name: str,
    before: Snapshot,
    after: Snapshot,
    *,
    posted: Sequence[float],
    answered: Sequence[float],
    arrived: Sequence[float],
    lost: int,
    twice: int,
    refused: Mapping[int, int],
    poll: float = 0,
) -> Result:
    """The result of the time between two snapshots. `posted`, `answered`, `arrived`: times by message, 0 for never;
    `poll`: CPU seconds of a look into an empty queue.
    """
    seconds = after.time - before.time
    accepted = sum(before.time <= moment < after.time for moment in answered)
    relayed = sum(before.time <= moment < after.time for moment in arrived)
    latencies = [
        (end - start) * 1000
        for start, end in zip(posted, arrived, strict=True)
        if end and before.time <= start < after.time
    ]
    waiting = sum(
        1 for start, end in zip(answered, arrived, strict=True) if 0 < start < after.time and not 0 < end < after.time
    )
    each = relayed or math.nan
    spent = {process: after.usage[process].cpu - before.usage[process].cpu for process in after.usage}
    operations = _more(before.calls, after.calls, each)
    return Result(
        name=name,
        seconds=seconds,
        messages=relayed,
        accepted=accepted / seconds,
        relayed=relayed / seconds,
        p50=percentile(latencies, 50),
        p95=percentile(latencies, 95),
        p99=percentile(latencies, 99),
        first=(arrived[0] - posted[0]) * 1000 if arrived and arrived[0] else math.nan,
        waiting=waiting,
        lost=lost,
        twice=twice,
        refused={str(status): count for status, count in refused.items()},
        cpu={process: value * 1000 / each for process, value in spent.items()},
        polling=operations.get(_EMPTY, 0.0) * poll * 1000,
        busy={process: value / seconds for process, value in spent.items()},
        others=max((after.machine - before.machine - sum(spent.values())) / seconds, 0.0),
        peak={process: usage.peak for process, usage in after.usage.items()},
        operations={kind: value for kind, value in operations.items() if value},
        hosted={kind: value for kind, value in _more(before.hosted, after.hosted, each).items() if value},
    )


def _more(before: Mapping[str, int], after: Mapping[str, int], each: float) -> dict[str, float]:
    return {kind: (after[kind] - before.get(kind, 0)) / each for kind in sorted(after)}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown, aligned: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = "|".join(
        f" {'-' * width} " if column == 0 else f" {'-' * (width - 1)}: " for column, width in enumerate(widths)
    )
    return "\n".join([line(head), f"|{rule}|", *(line(row) for row in rows)])


def show(results: Sequence[Result]) -> str:
    """The scenarios in four tables: speed, processes, storage, the host."""
    speed = table(
        ["scenario", "accepted/s", "relayed/s", "p50 ms", "p95 ms", "p99 ms", "first ms", "waiting", "lost", "twice"],
        [
            [
                result.name,
                *(f"{value:.0f}" for value in (result.accepted, result.relayed, result.p50, result.p95, result.p99)),
                f"{result.first:.0f}",
                *(str(count) for count in (result.waiting, result.lost, result.twice)),
            ]
            for result in results
        ],
    )
    processes = table(
        ["CPU ms per message", *PROCESSES, "all", "service but for polls", *(f"{name} busy" for name in PROCESSES),
         "others busy",
         *(f"{name} MB" for name in PROCESSES)],
        [
            [
                result.name,
                *(f"{result.cpu.get(name, math.nan):.2f}" for name in PROCESSES),
                f"{sum(result.cpu.values()):.2f}",
                f"{result.cpu.get(PROCESSES[0], math.nan) - result.polling:.2f}",
                *(f"{result.busy.get(name, math.nan):.0%}" for name in PROCESSES),
                f"{result.others:.0%}",
                *(f"{result.peak.get(name, 0) / 1e6:.0f}" for name in PROCESSES),
            ]
            for result in results
        ],
    )  # fmt: skip
    kinds = sorted({kind for result in results for kind in result.operations})
    storage = table(
        ["storage per message", *(result.name for result in results)],
        [
            *([kind, *(_amount(result.operations.get(kind, 0.0)) for result in results)] for kind in kinds),
            ["calls (rows are none)", *(_amount(result.calls) for result in results)],
            ["calls but for empty polls", *(_amount(result.calls - result.polls) for result in results)],
        ],
    )
    kinds = sorted({kind for result in results for kind in result.hosted} | {RECORDS})
    host = table(
        ["host per message", *(result.name for result in results)],
        [
            *([kind, *(_amount(result.hosted.get(kind, 0.0)) for result in results)] for kind in kinds),
            *(
                [f"all {begins}", *(_amount(result.all_hosted(begins)) for result in results)]
                for begins in ("invocations", "stages")
            ),
        ],
    )
    problems = [f"{result.name}: refused, by status: {dict(result.refused)}" for result in results if result.refused]
    return "\n\n".join([speed, processes, storage, host, *problems])


def _amount(value: float) -> str:
    return f"{value:.3f}" if value else "-"
