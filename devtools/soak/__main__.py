"""`python -m devtools.soak`: sends messages to two processes of the service on one storage, and counts what arrives.

All along: receivers answer 500 or not at all, the sender sends some messages twice and repeats what was not answered, a
process is killed, or told to stop, and started again, clocks are wrong, storage stands still, refuses calls, or its
answers get lost. A backup is restored into an empty account, from which the service goes on. Keys are rotated.

It works in parts, each in a storage account of its own with the same tenants and connections. With `--folder`, the same
command goes on after the last part that ended. It ends with code 1 if a message was lost or doubled, or did not arrive
in time, or if anything is left in the queues, or waits in storage for ever.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
from aiohttp import ClientSession

from devtools.bench.stack import Stack
from devtools.soak.counts import Count, Result, report
from devtools.soak.field import Field, populate
from devtools.soak.hosts import Hosts
from devtools.soak.options import Options, everything
from devtools.soak.part import Part, say
from devtools.soak.receiver import Receiver
from devtools.soak.storage import command

_STATE, _TENANTS = "soak.json", "tenants"


class Soak:
    """A soak in parts, of which a folder remembers those that ended.

    Args:
        folder: keeps the tenants, their keys, and the results of the parts that ended.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._state = folder / _STATE
        self.results: list[Result] = []

    def load(self) -> Field | None:
        """Reads what was kept; None if there is nothing."""
        if not self._state.exists():
            return None
        kept = orjson.loads(self._state.read_bytes())
        self.results = [Result.read(one) for one in kept["parts"]]
        return Field.read(kept["field"])

    def keep(self, field: Field) -> None:
        """Writes down the tenants, and the results so far."""
        draft = self._state.with_suffix(".part")
        draft.touch(mode=0o600)
        draft.write_bytes(orjson.dumps({"field": field.json(), "parts": [one.json() for one in self.results]}))
        draft.replace(self._state)

    async def prepare(self) -> Field:
        """Registers the tenants, and keeps a backup of them."""
        self._folder.mkdir(parents=True, exist_ok=True)
        receiver = Receiver(Count())
        await receiver.start()
        hosts = Hosts(Options(0, 1), Count(), self._folder)
        try:
            async with hosts.running():
                stack = Stack(hosts.azurite, hosts.steady)
                field = await populate(stack, receiver.url, receiver.port)
                await stack.idle()
                await command(hosts.azurite.connection_string, "backup", str(self._folder / _TENANTS))
        finally:
            await receiver.stop()
        self.keep(field)
        return field

    async def part(self, options: Options) -> Result:
        """Runs one more part, and keeps its result."""
        field = self.load() or await self.prepare()
        count, first = Count(), sum(one.accepted for one in self.results)
        with TemporaryDirectory(dir=self._folder) as folder:
            hosts = Hosts(options, count, self._folder, field.url)
            receiver = Receiver(count, port=field.port)
            await receiver.start()
            try:
                async with hosts.running(self._folder / _TENANTS), ClientSession() as session:
                    result = await Part(options, field, count, hosts, Path(folder), first).run(receiver, session)
            finally:
                await receiver.stop()
        # As they were: keys that connections took are in the account of this part alone.
        self.results.append(result)
        self.keep(self._field())
        return result

    def _field(self) -> Field:
        return Field.read(orjson.loads(self._state.read_bytes())["field"])


async def alone(options: Options, folder: Path) -> Result:
    """Runs one part with tenants of its own, of which nothing is kept. `folder`: of the master keys."""
    count = Count()
    hosts = Hosts(options, count, folder)
    receiver = Receiver(count)
    await receiver.start()
    try:
        async with hosts.running(), ClientSession() as session:
            field = await populate(Stack(hosts.azurite, hosts.steady), receiver.url, receiver.port)
            return await Part(options, field, count, hosts, folder).run(receiver, session)
    finally:
        await receiver.stop()


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m devtools.soak", description="Many messages, with faults all along."
    )
    parser.add_argument("--messages", type=int, help="in all parts (default: 20000, or as many as the minutes allow)")
    parser.add_argument("--minutes", type=float, default=0, help="of this call, at most (default: no end)")
    parser.add_argument("--part", type=int, default=20_000, help="messages of one part (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="that keeps what was done, so that the same command goes on")
    parser.add_argument("--under-way", type=int, default=1000, help="at most, at a time (default: %(default)s)")
    parser.add_argument(
        "--latest", type=float, default=900, help="seconds to wait for the last of a part (default: %(default)s)"
    )
    parser.add_argument(
        "--lease",
        type=float,
        default=30,
        help="seconds until another process gets what a killed one had; more on a busy machine, or leases end while "
        "their process works (default: %(default)s)",
    )
    return parser.parse_args(arguments)


async def run(chosen: argparse.Namespace, folder: Path) -> tuple[Sequence[Result], bool]:
    """Runs parts until all is sent, or a part failed, or the minutes are over. Returns the results, and whether all is
    sent."""
    began, soak = time.monotonic(), Soak(folder)
    soak.load()
    messages = chosen.messages or (sys.maxsize if chosen.minutes else 20_000)
    while (left := messages - sum(one.accepted for one in soak.results)) > 0:
        seconds = chosen.minutes * 60 - (time.monotonic() - began) if chosen.minutes else 0.0
        if chosen.minutes and seconds <= 0:
            break
        say(f"part {len(soak.results) + 1}: {messages - left} messages were sent before")
        options = everything(min(chosen.part, left), chosen.under_way, chosen.latest, seconds, chosen.lease)
        result = await soak.part(options)
        say(report([result]))
        if result.failed:
            break
    return soak.results, left <= 0 or bool(chosen.minutes)


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parse(arguments)
    with TemporaryDirectory() as temporary:
        results, is_whole = asyncio.run(run(chosen, chosen.folder or Path(temporary)))
    print(report(results))
    return 1 if any(one.failed for one in results) or not is_whole else 0


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main())
