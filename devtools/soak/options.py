"""How long a soak is, and what befalls it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """Times are in seconds, and `*_every` are the time from one fault to the next, on average; 0 for never.

    Attributes:
        messages: of one part. under_way: accepted and not arrived, at most. latest: to wait for the last of them.
        lease: until another process gets what a killed one had.
        twice: share of the messages that are sent twice. large: every so many has 50 kB; 0 for none.
        failing_every, failing: one tenant's receiver answers everything with 500 for so long.
        hanging_every: a webhook call is not answered.
        kill_every: one of the processes ends, and is started again.
        stops: share of these ends that are asked for by SIGTERM; the others are by SIGKILL.
        pause_every, pause: the storage emulator stands still for so long.
        busy_every, busy: storage refuses 30 % of all calls for so long. refused: the share that it refuses otherwise.
        lost: share of the calls to storage whose answer does not come.
        step_every, clock: a process gets a clock that is wrong by up to `clock`.
        rotate_every: a connection takes new keys.
        moves: once, a backup is taken under way; then one that the service goes on from, in an empty account, and the
            master key is rotated.
        restart_after: storage is ended, and started again with what it kept; it keeps things in memory otherwise.
        seconds: no message is sent after them; 0 for no end.
        ends: no message is sent after so many ends of a process; 0 for no end.
    """

    messages: int
    under_way: int
    latest: float = 900
    lease: float = 10
    twice: float = 0.03
    large: int = 0
    failing_every: float = 0
    failing: float = 1.0
    hanging_every: float = 0
    kill_every: float = 0
    stops: float = 0.5
    pause_every: float = 0
    pause: float = 3.0
    busy_every: float = 0
    busy: float = 3.0
    refused: float = 0
    lost: float = 0
    step_every: float = 0
    clock: float = 0
    rotate_every: float = 0
    moves: bool = False
    restart_after: float = 0
    seconds: float = 0
    ends: int = 0


def everything(messages: int, under_way: int, latest: float, seconds: float, lease: float) -> Options:
    """All faults at once."""
    return Options(
        messages,
        under_way,
        latest,
        lease,
        seconds=seconds,
        large=500,
        failing_every=15,
        hanging_every=20,
        kill_every=45,
        pause_every=60,
        busy_every=30,
        refused=0.005,
        lost=0.0005,
        step_every=30,
        # From 900 on, storage refuses what is signed.
        clock=600,
        rotate_every=5,
        moves=True,
    )
