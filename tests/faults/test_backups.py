"""A backup, and a restore, that is killed before each of its calls, or fails at it: the same command goes on, and what
is restored is what there was.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest
from azure.core.exceptions import ServiceRequestError, ServiceResponseError

from devtools.memory import Durable, MemoryStorage
from tests.faults.flows import LARGE, basic
from tests.faults.process import Fault, Killed, once_more
from tests.faults.world import World, run
from tntcore.maintenance import backup as backups
from tntcore.maintenance.archive import BackupError
from tntcore.maintenance.backup import backup
from tntcore.maintenance.restore import restore, verify

T = TypeVar("T")
KINDS: tuple[Fault, ...] = ("kill", "fail", "lost", "twice")
LATER = 1_800_000_000_000


class Machine:
    """A process that runs a command; something befalls call `number` of those that change something."""

    def __init__(self, kind: Fault | None = None, number: int = 0) -> None:
        self._kind, self._number = kind, number
        self.calls = 0
        self._dead = False

    async def point(self, name: str, effect: Callable[[], T], *, writes: bool) -> T:
        await asyncio.sleep(0)
        if self._dead:
            raise Killed
        self.calls += writes
        kind = self._kind if writes and self.calls == self._number else None
        if kind == "kill":
            self._dead = True
            raise Killed
        if kind == "fail":
            raise ServiceRequestError("the call did not get there")
        if kind == "twice":
            with suppress(Exception):
                effect()
        found = once_more(effect, repeated=kind == "twice")
        if kind == "lost":
            raise ServiceResponseError("the answer did not come back")
        return found

    def storage(self, durable: Durable) -> MemoryStorage:
        return MemoryStorage(durable, self.point)

    def files(self, kept: dict[str, bytes]) -> MemoryFiles:
        return MemoryFiles(kept, self.point)


class MemoryFiles:
    def __init__(self, kept: dict[str, bytes], point: Any) -> None:
        self._kept = kept
        self._point = point

    async def read(self, name: str) -> bytes | None:
        return self._kept.get(name)

    async def write(self, name: str, data: bytes) -> None:
        await self._point("file", lambda: self._kept.update({name: data}), writes=True)


async def whatever_happens(command: Callable[[Machine], Awaitable[T]], kind: Fault, number: int) -> tuple[T, bool]:
    """Runs the command until it is done; whether there was such a call."""
    first = Machine(kind, number)
    for machine in (first, Machine()):
        with suppress(Killed, ServiceRequestError, ServiceResponseError):
            return await command(machine), first.calls >= number
    raise TimeoutError("it is never done")


async def filled(folder: Path, shards: int = 1) -> World:
    """A storage account with messages that are delivered, on the ladder, held, large, and not handled yet."""
    world = World(folder, shards)
    acme = await world.register("Acme")
    partner = await world.partner(acme)
    waiting = await acme.post("contact", {"contact": {"email": "eve@partner.example"}})
    await acme.act(waiting["uuid"], basic("held"))
    for content in ("delivered", LARGE):
        await partner.send(partner.basic(content))
    await world.settle()
    acme.hooks.answers = [500] * 9
    acme.hooks.clear()
    await partner.send(partner.basic("late"))
    while await world.step():
        pass
    for content in ("waits", LARGE):
        await partner.send(partner.basic(content))
    return world


def things(durable: Durable) -> Any:
    """Everything but the times of marks."""
    records = {name: row.values for name, row in durable.tables["records"].items()}
    lookups = {name: row.values for name, row in durable.tables["lookups"].items() if name[0] != "storage"}
    return records, lookups, {name: blobs for name, blobs in durable.blobs.items() if blobs}


def pending(durable: Durable) -> set[tuple[str, int]]:
    """The deliveries that are on their way, with the time of the next attempt."""
    rows = [(key, row.values) for (_, key), row in durable.tables["records"].items() if key.startswith("delivery~")]
    found = [(key, values["nextAttemptAt"]) for key, values in rows if values["status"] == "PENDING"]
    return {(key.removeprefix("delivery~"), max(time, LATER)) for key, time in found}


def queued(durable: Durable) -> dict[str, set[tuple[str, int]]]:
    """By queue, the deliveries that it has, with the time at which they can be seen."""
    found: dict[str, set[tuple[str, int]]] = {"outbound": set(), "relay": set()}
    for message in durable.queue.values():
        if message.queue in found:
            items = orjson.loads(message.body)["items"]
            found[message.queue] |= {(item["d"], message.visible // 1000 * 1000) for item in items}
    return found


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backups, "FILE", 20_000)
    monkeypatch.setattr(backups, "_MOST_FILES", 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_backup_goes_on(tmp_path: Path, kind: Fault) -> None:
    async def work() -> None:
        source = (await filled(tmp_path)).durable
        before = things(source)
        for number in itertools.count(1):
            kept: dict[str, bytes] = {}

            async def command(machine: Machine, kept: dict[str, bytes] = kept) -> Any:
                return await backup(machine.storage(source), machine.files(kept), "account")

            generation, met = await whatever_happens(command, kind, number)
            assert generation.number <= 2, "one more, if it was not learnt that the first is whole"
            await verify(Machine().files(kept))
            assert things(source) == before, "a backup changes nothing"
            target = Durable(LATER)
            await restore(Machine().storage(target), Machine().files(kept), lambda: LATER)
            assert things(target) == before
            if not met:
                break
        assert number > 20, number

    run(work)


@pytest.mark.parametrize("kind", KINDS)
def test_a_restore_goes_on(tmp_path: Path, kind: Fault) -> None:
    async def work() -> None:
        source = (await filled(tmp_path, 4 if kind in ("kill", "lost") else 1)).durable
        kept: dict[str, bytes] = {}
        for _ in range(2):
            await backup(Machine().storage(source), Machine().files(kept), "account")
        for number in itertools.count(1):
            target = Durable(LATER)

            async def command(machine: Machine, target: Durable = target) -> Any:
                return await restore(machine.storage(target), machine.files(kept), lambda: LATER)

            done, met = await whatever_happens(command, kind, number)
            assert done.generation.number == 2
            assert things(target) == things(source)
            waiting = {message.body for message in source.queue.values() if message.queue == "inbound"}
            assert waiting <= {message.body for message in target.queue.values()}
            assert queued(target) == {"outbound": set(), "relay": pending(source)}
            marks = {key.partition("~")[2] for part, key in target.tables["due"] if part == "due"}
            assert marks == {owner for owner, key in source.tables["records"] if key.startswith("delivery~")}
            if not met:
                break
        assert number > 20, number

    run(work)


def test_a_restore_is_done_once(tmp_path: Path) -> None:
    """Its last answer may be lost, so the same command again says what it did. By then the service may have gone on."""

    async def work() -> None:
        source = (await filled(tmp_path)).durable
        kept: dict[str, bytes] = {}

        async def save() -> None:
            await backup(Machine().storage(source), Machine().files(kept), "account")

        async def restored(*, over: bool = False) -> bool:
            files = Machine().files(kept)
            return (await restore(Machine().storage(target), files, lambda: LATER, over=over)).restored_before

        await save()
        target = Durable(LATER)
        assert not await restored()
        deleted = next(name for name in target.tables["records"] if name[1].startswith("message~"))
        del target.tables["records"][deleted]
        assert await restored()
        assert deleted not in target.tables["records"]
        # The account is not empty: it is overwritten only if that is said, and only by a newer backup.
        assert not await restored(over=True)
        assert deleted in target.tables["records"]
        await save()
        with pytest.raises(BackupError, match="not empty"):
            await restored()

    run(work)
