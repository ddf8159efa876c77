"""`python -m devtools.bench`: the scenarios, one after the other, each with processes of its own."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import math
import os
import platform
import pstats
import random
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from devtools.azurite import AzuriteError
from devtools.bench import cold, growth
from devtools.bench.costs import Cost, costs, envelopes
from devtools.bench.load import Hooks, Load, connect, prepare, until_arrived
from devtools.bench.measure import Result, show, summarise, table
from devtools.bench.stack import Stack, running

_IDLE = 0.5  # seconds without a message, several times, in which the cost of empty polls is measured
_COLD = "cold"
_COLD_STARTS = 5


@dataclass(frozen=True, slots=True)
class Scenario:
    """`under_way`: messages sent and not yet at the webhook, per connection, where it is not for the options to say."""

    name: str
    connections: int
    tenants: int = 1
    each: int = 1
    under_way: int | None = None

    @property
    def most(self) -> int:
        """More messages a second than it will send."""
        return min(1_500, 100 + 100 * self.connections)


SCENARIOS = {
    "alone": Scenario("1 message at a time", 1, under_way=1),
    "1": Scenario("1 connection", 1),
    "16": Scenario("16 connections", 16),
    "64": Scenario("64 connections", 64),
    "tenants": Scenario("64, 200 tenants x 5", 64, tenants=200, each=5),
}


@dataclass(frozen=True, slots=True)
class Options:
    seconds: float
    warm_up: float
    under_way: int
    wake: bool
    profile: Path | None
    storage_latency: float


async def measure(scenario: Scenario, options: Options, processes: int = 1) -> Result:
    hooks = Hooks()
    await hooks.start()
    try:
        settings = {"BENCH_STORAGE_LATENCY": str(options.storage_latency)}
        async with running(wake=options.wake, settings=settings, processes=processes) as stack:
            return await _measure(scenario, options, stack, hooks)
    finally:
        await hooks.stop()


async def _measure(scenario: Scenario, options: Options, stack: Stack, hooks: Hooks) -> Result:
    targets = await stack.populate(hooks.url, scenario.tenants, scenario.each)
    # Neighbours would share their tenant's transactions, as strangers' messages do not.
    random.Random(0).shuffle(targets)
    endpoint = f"{stack.service.url}/api/didcomm"
    requests = prepare(endpoint, targets, int(scenario.most * (options.seconds + options.warm_up)) + len(targets))
    poll = await stack.cost_of_a_poll(_IDLE)
    under_way = options.under_way if scenario.under_way is None else scenario.under_way
    load = hooks.load = Load(requests, under_way=under_way * scenario.connections)
    urls = [service.url for service in (stack.service, *stack.others)]
    senders = await connect(load, urls, max(scenario.connections, len(urls)))
    # What is packed lives to the end: no use in walking it over and over while times are taken.
    gc.collect()
    gc.freeze()
    try:
        for sender in senders:
            load.send(sender)
        await _wait(load, options.warm_up)
        while load.sent < len(targets) and not load.used_up.is_set():
            await _wait(load, 0.1)
        if options.profile is not None:
            await stack.service.ask("profile")
        before = await stack.snapshot()
        await _wait(load, options.seconds)
        after = await stack.snapshot()
        if options.profile is not None:
            await stack.service.ask("profile", file=str(options.profile.resolve()))
        load.stop()
        await until_arrived(load)
    finally:
        gc.unfreeze()
        for sender in senders:
            sender.close()
    return summarise(
        f"{scenario.name}, {len(urls)} processes" if stack.others else scenario.name,
        before,
        after,
        posted=load.posted[: load.sent],
        answered=load.answered[: load.sent],
        arrived=load.arrived[: load.sent],
        lost=load.missing(),
        twice=load.twice,
        refused=load.refused,
        poll=poll,
    )


async def _wait(load: Load, seconds: float) -> None:
    try:
        await asyncio.wait_for(load.used_up.wait(), seconds)
    except TimeoutError:
        return
    say("The prepared messages were used up: the time measured is shorter.")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def show_costs(found: Sequence[Cost]) -> str:
    total = sum(cost.per_message for cost in found)
    rows = [[cost.feature, f"{cost.each:.1f}", f"{cost.times:g}", f"{cost.per_message:.1f}"] for cost in found]
    return table(["CPU us", "each", "times", "per message"], [*rows, ["all of these", "", "", f"{total:.1f}"]])


def show_envelopes(found: Sequence[tuple[str, float, float]]) -> str:
    return table(
        ["CPU us, 1 KB", "ours", "bare primitives", "ratio"],
        [
            [name, f"{ours:.1f}", *(["-", "-"] if math.isnan(bare) else [f"{bare:.1f}", f"{ours / bare:.2f}"])]
            for name, ours, bare in found
        ],
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m devtools.bench", description="Measures the way of a message in.")
    parser.add_argument("--quick", action="store_true", help="2 seconds a scenario, to try it")
    parser.add_argument("--seconds", type=float, default=10, help="measured per scenario (default: %(default)s)")
    parser.add_argument(
        "--warm-up",
        type=float,
        default=3,
        help="seconds before that, or longer, until every connection's message has come once (default: %(default)s)",
    )
    parser.add_argument(
        "--only", action="append", choices=[*SCENARIOS, _COLD, "none"], help="these scenarios; repeat for several"
    )
    parser.add_argument(
        "--under-way",
        type=int,
        default=3,
        metavar="N",
        help="a connection waits while there are N times as many messages as connections sent and not yet relayed; "
        "0: it never does (default: %(default)s)",
    )
    parser.add_argument("--no-wake", action="store_true", help="the host polls its queues and is told of no put")
    parser.add_argument(
        "--storage-latency",
        type=float,
        default=0,
        metavar="MS",
        help="each call of storage takes so much longer, as in Azure, where one takes 5 to 15 ms (default: 0)",
    )
    parser.add_argument(
        "--processes",
        action="append",
        type=int,
        metavar="N",
        help="so many processes of the service on the same storage, each with its share of the connections; repeat to "
        "compare (default: 1)",
    )
    parser.add_argument(
        "--growth",
        action="append",
        type=int,
        metavar="N",
        help="nothing but this: what things cost with N messages stored, in memory of the same process (3 kB each); "
        "repeat to compare",
    )
    parser.add_argument("--profile", type=Path, metavar="FILE", help="cProfile of the service, of one scenario")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, too")
    options = parser.parse_args(arguments)
    chosen = options.only or [*SCENARIOS, _COLD]
    options.only = [name for name in chosen if name in SCENARIOS]
    options.cold_starts = (2 if options.quick else _COLD_STARTS) if _COLD in chosen else 0
    options.processes = options.processes or [1]
    if min(options.processes) < 1:
        parser.error("--processes must be at least 1")
    if options.profile and (len(options.only) != 1 or options.processes != [1]):
        parser.error("--profile needs exactly one scenario, of one process: use --only")
    if options.quick:
        options.seconds, options.warm_up = 2, 1
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parse(arguments)
    if chosen.growth:
        logging.disable(logging.WARNING)  # it is about the file of the master keys
        grown = asyncio.run(growth.grow(chosen.growth, say))
        print(growth.show(grown))
        if chosen.json:
            chosen.json.write_text(json.dumps({"growth": [asdict(one) for one in grown]}, indent=2) + "\n")
        return 0
    options = Options(
        chosen.seconds, chosen.warm_up, chosen.under_way, not chosen.no_wake, chosen.profile, chosen.storage_latency
    )
    results, starts = [], []
    try:
        for name in chosen.only:
            for processes in chosen.processes:
                say(f"{SCENARIOS[name].name}{f', {processes} processes' if processes > 1 else ''} ...")
                results.append(asyncio.run(measure(SCENARIOS[name], options, processes)))
        if chosen.cold_starts and not cold.is_possible():
            say("The package is for Linux on x86-64, so no cold start is measured here.")
        elif chosen.cold_starts:
            say("cold starts ...")
            starts = asyncio.run(cold.cold_starts(chosen.cold_starts))
    except AzuriteError as problem:
        say(f"bench: {problem}")
        return 1
    say("what each step costs ...")
    steps = asyncio.run(costs())
    packing = envelopes()
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} processors, 1 KB a message, {options.seconds:g} s each"
        f", up to {options.under_way or 'any number of'} under way for each connection"
        f"{'' if options.wake else ', queues polled only'}"
        f"{f', {options.storage_latency:g} ms more for each call of storage' if options.storage_latency else ''}\n"
    )
    measured = [*([show(results)] if results else []), *([cold.show(starts)] if starts else [])]
    print("\n\n".join([*measured, show_costs(steps), show_envelopes(packing)]))
    if chosen.json:
        chosen.json.write_text(json.dumps(report(options, results, starts, steps, packing), indent=2) + "\n")
    if chosen.profile:
        for order in ("tottime", "cumulative"):
            pstats.Stats(str(chosen.profile)).sort_stats(order).print_stats(25)
    return 1 if any(result.lost for result in results) else 0


def report(
    options: Options,
    results: Sequence[Result],
    starts: Sequence[cold.ColdStart],
    steps: Sequence[Cost],
    packing: Sequence[tuple[str, float, float]],
) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "seconds": options.seconds,
        "under_way": options.under_way,
        "wake": options.wake,
        "storage_latency": options.storage_latency,
        "scenarios": [result.json() for result in results],
        "cold_starts": [asdict(one) for one in starts],
        "costs": [
            {"feature": cost.feature, "each": cost.each, "times": cost.times, "per_message": cost.per_message}
            for cost in steps
        ],
        "envelopes": [
            {"name": name, "ours": ours, "bare": None if math.isnan(bare) else bare} for name, ours, bare in packing
        ],
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main())
