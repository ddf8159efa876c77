"""What was done in one part of a soak, and what arrived; and the report on all parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from devtools.bench.measure import table

SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
STOPPED, KILLED = "times that a process was told to stop", "times that a process was killed"
AGAIN = "webhook calls that came again, under their id"
STOPPING = "seconds from SIGTERM to the end of a process, at most"


@dataclass(frozen=True, slots=True)
class Seen:
    """The process that is not killed, at a share of a part's time. `waiting`: messages in all queues."""

    memory: int
    handles: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Result:
    """One part of a soak, in numbers.

    Attributes:
        lost, doubled: numbers of messages. seconds: of sending. left: what is in storage in the end and should not be.
        seen: at each of `SHARES` of the time.
    """

    accepted: int
    arrived: int
    lost: Sequence[int]
    doubled: Sequence[int]
    seconds: float
    stopping: float
    done: Mapping[str, int]
    left: Mapping[str, int]
    seen: Sequence[Seen]

    @property
    def failed(self) -> bool:
        """Whether anything is lost, doubled or left behind."""
        return bool(self.lost or self.doubled or any(self.left.values()))

    def json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def read(data: Mapping[str, Any]) -> Result:
        return Result(**{**data, "seen": [Seen(**seen) for seen in data["seen"]]})


@dataclass
class Count:
    """
    Attributes:
        calls: of each message that arrived, the id of its webhook call.
        doubled: messages of which there was more than one webhook call, by id.
        memory, handles: of the process that is not killed, and waiting: messages in all queues; each with the time.
        stopping: seconds from SIGTERM to the end of a process.
        left: what is in storage in the end and should not be.
    """

    done: Counter[str] = field(default_factory=Counter)
    calls: dict[int, str] = field(default_factory=dict)
    accepted: set[int] = field(default_factory=set)
    doubles: set[int] = field(default_factory=set)
    memory: list[tuple[float, int]] = field(default_factory=list)
    handles: list[tuple[float, int]] = field(default_factory=list)
    waiting: list[tuple[float, int]] = field(default_factory=list)
    stopping: list[float] = field(default_factory=list)
    left: Counter[str] = field(default_factory=Counter)

    def arrive(self, number: int, name: str) -> bool:
        """Counts a webhook call that was taken. Returns whether it is the first of its message.

        Args:
            name: its `webhook-id`.
        """
        if number not in self.calls:
            self.calls[number] = name
            return True
        if self.calls[number] == name:
            self.done[AGAIN] += 1
        else:
            self.doubles.add(number)
        return False

    @property
    def ends(self) -> int:
        """How often a process was ended."""
        return self.done[STOPPED] + self.done[KILLED]

    @property
    def lost(self) -> list[int]:
        return sorted(self.accepted - self.calls.keys())

    @property
    def doubled(self) -> list[int]:
        return sorted(self.doubles)

    def result(self, seconds: float) -> Result:
        seen = [
            Seen(*(about(values, share * seconds) for values in (self.memory, self.handles, self.waiting)))
            for share in SHARES
        ]
        stopping = max(self.stopping, default=0.0)
        left = {name: number for name, number in self.left.items() if number}
        return Result(
            len(self.accepted), len(self.calls), self.lost, self.doubled, seconds, stopping, dict(self.done), left, seen
        )


def about(seen: Sequence[tuple[float, int]], seconds: float) -> int:
    """The median of what was seen in ten seconds around that time."""
    near = sorted(value for at, value in seen if abs(at - seconds) <= 5) or [0]
    return near[len(near) // 2]


def report(results: Sequence[Result]) -> str:
    """All parts together, and each for itself, as two tables."""
    accepted, seconds = sum(one.accepted for one in results), sum(one.seconds for one in results)
    done: Counter[str] = sum((Counter(one.done) for one in results), Counter())
    left: Counter[str] = sum((Counter(one.left) for one in results), Counter())
    rows = [
        ["messages accepted", str(accepted)],
        ["messages that arrived", str(sum(one.arrived for one in results))],
        ["**lost**", f"**{sum(len(one.lost) for one in results)}**"],
        ["**doubled**, by `webhook-id`", f"**{sum(len(one.doubled) for one in results)}**"],
        ["parts", str(len(results))],
        ["seconds of sending", f"{seconds:.0f}"],
        ["messages a second", f"{accepted / (seconds or 1):.0f}"],
        *([name, str(number)] for name, number in sorted(done.items())),
        *([f"left in the end: {name}", str(number)] for name, number in sorted(left.items())),
    ]
    if stopping := max((one.stopping for one in results), default=0.0):
        rows.append([STOPPING, f"{stopping:.1f}"])
    memory = [f"MiB at {share:.0%}" for share in SHARES]
    heads = ["part", "messages", "a second", *memory, "handles, most", "queued, most"]
    parts = [
        [
            str(number),
            str(one.accepted),
            f"{one.accepted / (one.seconds or 1):.0f}",
            *(str(seen.memory >> 20) for seen in one.seen),
            str(max(seen.handles for seen in one.seen)),
            str(max(seen.waiting for seen in one.seen)),
        ]
        for number, one in enumerate(results, 1)
    ]
    return f"{table(['', ''], rows)}\n\n{table(heads, parts)}"
