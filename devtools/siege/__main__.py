"""`python -m devtools.siege`: each attack, then all of them together, each against processes of its own.

It ends with code 1 if the honest tenant lost something, or had to wait longer than it may.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

from devtools.azurite import AzuriteError
from devtools.bench.measure import percentile, table
from devtools.bench.stack import running
from devtools.siege.attacks import ATTACKS, Run
from devtools.siege.field import UNANSWERED, Side
from devtools.siege.honest import Group, Honest, Trial

TOGETHER = "together"
_HONEST = "127.0.0.2"
_SETTINGS = {"TNT_TENANT_BYTES": str(256 << 20)}  # enough for who is honest, and soon used up by who is not


@dataclass(frozen=True, slots=True)
class Bound:
    """What is borne during an attack: so many times what it was before, or so many seconds, whichever is more."""

    times: float
    seconds: float

    def of(self, before: float) -> float:
        return max(self.times * before, self.seconds)


BOUNDS: Mapping[Group, Bound] = {"messages": Bound(3, 1.0), "credentials": Bound(5, 5.0)}


@dataclass(frozen=True, slots=True)
class Options:
    """`seconds`: of each attack; before it, half as long. `latest`: until what has not come is lost."""

    seconds: float = 12.0
    latest: float = 90.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the honest tenant did before an attack and during it, and how all were answered, by status."""

    attack: str
    before: Sequence[Trial]
    during: Sequence[Trial]
    honest: Mapping[int, int] = field(default_factory=dict)
    attackers: Mapping[int, int] = field(default_factory=dict)

    @property
    def lost(self) -> list[Trial]:
        return [trial for trial in (*self.before, *self.during) if trial.took is None]

    def slow(self) -> list[Group]:
        """In what it had to wait too long, by the 95th percentile."""
        return [
            group
            for group, bound in BOUNDS.items()
            if percentile(times(self.during, group), 95) > bound.of(percentile(times(self.before, group), 95))
        ]


def times(trials: Sequence[Trial], group: Group) -> list[float]:
    """Seconds."""
    return [trial.took for trial in trials if trial.group == group and trial.took is not None]


async def besiege(attack: str, options: Options) -> Outcome:
    """Runs one attack, or `TOGETHER`."""
    names = list(ATTACKS) if attack == TOGETHER else [attack]
    async with running(wake=True, settings=_SETTINGS) as stack, AsyncExitStack() as sides:
        operator = await asyncio.to_thread(stack.operator, "Siege")
        side = await sides.enter_async_context(Side(stack, operator, _HONEST))
        honest = await Honest.settle(side, options.latest)
        attackers = [
            await sides.enter_async_context(Side(stack, operator, f"127.0.2.{number}"))
            for number in range(1, len(names) + 1)
        ]
        runs = [await ATTACKS[name](attacker, honest.key) for name, attacker in zip(names, attackers, strict=True)]
        await stack.idle()
        for one in (side, *attackers):
            one.answers.clear()
        before = await honest.live(options.seconds / 2)
        attacking = [asyncio.create_task(_for(options.seconds, run)) for run in runs]
        during = await honest.live(options.seconds)
        await asyncio.gather(*attacking)
        answered: Counter[int] = sum((attacker.answers for attacker in attackers), Counter())
        return Outcome(attack, before, during, dict(side.answers), dict(answered))


async def _for(seconds: float, run: Run) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(run(), seconds)


def report(outcomes: Sequence[Outcome]) -> str:
    """Returns the outcomes as a table of seconds, in the form that docs/security.md has: p50 / p95, and in bold what
    exceeds its bound."""
    rows = []
    for outcome in outcomes:
        slow = outcome.slow()
        cells = [title(outcome.attack)]
        for group in BOUNDS:
            during = _both(outcome.during, group)
            cells += [_both(outcome.before, group), f"**{during}**" if group in slow else during]
        rows.append([*cells, str(len(outcome.lost))])
    return table(["attack", *(f"{group} {when}" for group in BOUNDS for when in ("before", "during")), "lost"], rows)


def title(attack: str) -> str:
    """Returns what an attack does, as its docstring says."""
    if attack == TOGETHER:
        return "All of these together"
    return " ".join((ATTACKS[attack].__doc__ or attack).split()).rstrip(".")


def _both(trials: Sequence[Trial], group: Group) -> str:
    return " / ".join(f"{percentile(times(trials, group), percent):.2f}" for percent in (50, 95))


def _statuses(answers: Mapping[int, int]) -> str:
    named = {"none" if status == UNANSWERED else str(status): count for status, count in sorted(answers.items())}
    return ", ".join(f"{count} x {status}" for status, count in named.items())


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m devtools.siege", description="What an honest tenant notices of attacks."
    )
    parser.add_argument(
        "--attack", action="append", choices=[*ATTACKS, TOGETHER], help="this attack; repeat for several (default: all)"
    )
    parser.add_argument("--seconds", type=float, default=12, help="of each attack (default: %(default)s)")
    parser.add_argument("--short", action="store_true", help="6 seconds of each, to try it")
    chosen = parser.parse_args(arguments)
    chosen.attack = chosen.attack or [*ATTACKS, TOGETHER]
    chosen.seconds = 6 if chosen.short else chosen.seconds
    return chosen


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parse(arguments)
    outcomes = []
    try:
        for attack in chosen.attack:
            say(f"{attack} ...")
            outcome = asyncio.run(besiege(attack, Options(chosen.seconds)))
            say(f"{report([outcome])}\nthe attackers were answered: {_statuses(outcome.attackers)}")
            for trial in outcome.lost:
                say(f"lost: {trial.error}")
            outcomes.append(outcome)
    except AzuriteError as problem:
        say(f"siege: {problem}")
        return 1
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} processors, load average {os.getloadavg()[0]:.0f}, "
        f"{chosen.seconds:g} s each; p50 / p95 in seconds; exceeded bounds in bold\n\n{report(outcomes)}"
    )
    return 1 if any(outcome.lost or outcome.slow() for outcome in outcomes) else 0


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main())
