"""The calls that each kind of message costs in a process whose caches are warm. Each call of storage is a round trip
that the message waits for, and is paid.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from tests.faults.flows import PING, PING_2
from tests.faults.sites import Client, Partner
from tests.faults.world import World, run
from tntcore.dids.document import Version
from tntcore.storage.tables import Table
from tntcore.storage.transactions import Operation

Send = Callable[[Client, Partner], Awaitable[object]]

IN = ["inbound.put", "records.transact"]  # and the get of the host, between them
OUTCOME = "records.transact"


async def warmed(tmp_path: Path, *, at_once: bool = False) -> tuple[World, Client, Partner]:
    """A tenant and its partner, with every cache filled that a message uses."""
    world = World(tmp_path)
    world.at_once = at_once
    world.restart()
    acme = await world.register("Acme")
    partner = await world.partner(acme)
    await world.settle()
    for _ in range(2):
        await spent(world, lambda: a_message(acme, partner))
    return world, acme, partner


async def a_message(acme: Client, partner: Partner) -> None:
    await partner.send(partner.basic("x"))


async def one_that_is_answered(acme: Client, partner: Partner) -> None:
    name = partner.world.name("ping")
    asked = {"response_requested": True}
    is_v1 = partner.version == "v1"
    await partner.send({"@id": name, "@type": PING, **asked} if is_v1 else {"id": name, "type": PING_2, "body": asked})


async def one_that_came_before(acme: Client, partner: Partner) -> None:
    await partner.send({**partner.basic("x"), "@id" if partner.version == "v1" else "id": "the same"})


async def an_action(acme: Client, partner: Partner) -> None:
    message = {"type": "DIDCOMM", "to": partner.connection.contact_uuid, "data": {"message": partner.basic("x")}}
    answer = await acme.call("POST", "action", message)
    assert answer.status == 201


async def spent(world: World, send: Callable[[], Awaitable[object]]) -> list[str]:
    """The calls of sending it, and of handling the queue messages that follow."""
    world.trace.clear()
    await send()
    while await world.step():
        pass
    return [name.split(".")[0] if name.startswith("POST ") else name for name in world.trace]


def rows_written(table: Table) -> Counter[str]:
    """Counts, from now on, the rows that transactions write, by partition."""
    written, transact = Counter[str](), table.transact

    async def counted(partition: str, operations: Sequence[Operation]) -> list[str]:
        etags = await transact(partition, operations)
        written[partition] += len(operations)
        return etags

    table.transact = counted  # type: ignore[method-assign]
    return written


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize(
    ("send", "rows", "calls"),
    [
        (a_message, 5, [*IN, "POST acme", OUTCOME, "host.delete"]),
        # The webhook and the other agent are called at the same time, and both outcomes share a transaction.
        (one_that_is_answered, 12, [*IN, "POST acme", "POST partner-2", OUTCOME, "host.delete"]),
        # It is compared with the one before, and may have been given up before.
        (one_that_came_before, 0, [*IN, "records.get", "records.get", "host.delete"]),
        # The contact's connections, and the identity.
        (
            an_action,
            8,
            [
                "records.scan",
                "records.get",
                "records.transact",
                "outbound.put",
                "POST partner-2",
                OUTCOME,
                "host.delete",
            ],
        ),
    ],
)
def test_calls(tmp_path: Path, version: Version, send: Send, rows: int, calls: list[str]) -> None:
    """All rows are in the tenant's partition, which takes 2,000 a second in Azure: docs/operating.md."""

    async def work() -> None:
        world = World(tmp_path)
        acme = await world.register("Acme")
        partner = await world.partner(acme, version)
        await world.settle()
        # The first ones fill the caches, and write the marks by which the sweeper finds deliveries.
        for _ in range(2):
            await spent(world, lambda: send(acme, partner))
        written = rows_written(world.process.app.services.storage.records)
        assert await spent(world, lambda: send(acme, partner)) == calls
        assert +written == Counter({acme.uuid: rows})

    run(work)


def test_what_a_message_alone_costs_where_the_host_is_a_process_of_its_own(tmp_path: Path) -> None:
    """Each invocation, stage and log record goes through the host, the worker and the pipe between them."""

    async def work() -> tuple[list[str], list[str]]:
        world, acme, partner = await warmed(tmp_path)
        records, service = Records(), logging.getLogger("tntcore")
        service.addHandler(records)
        try:
            return await spent(world, lambda: a_message(acme, partner)), records.texts
        finally:
            service.removeHandler(records)

    calls, records = run(work)
    stages = [call for call in calls if call.endswith(".put")]
    assert stages == ["inbound.put"]
    assert calls.count("host.delete") + 1 == 2, "invocations: the call, and one for the stage"
    gets = len(stages)
    assert sum(not call.startswith("POST ") for call in calls) + gets == 5, "storage calls"
    assert records == []


class Records(logging.Handler):
    """Keeps log records of every level that the service lets through."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def test_messages_that_come_together_share_their_calls(tmp_path: Path) -> None:
    async def work() -> None:
        world, acme, partner = await warmed(tmp_path)

        async def many() -> None:
            await asyncio.gather(*(a_message(acme, partner) for _ in range(10)))

        calls = Counter(await spent(world, many))
        assert calls == {"inbound.put": 1, "records.transact": 2, "POST acme": 10, "host.delete": 1}

    run(work)
