"""Commands whose call fails, or whose output goes nowhere."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

from tests.scenarios.cli.tool import Tool, Wire, register
from tests.stack import Receiver, Stack
from tntcore.storage.commit import Unit
from tntcore.storage.records import Contact
from tntcore.storage.states import ContactStatus

WRONG = {
    "accept foo": "'foo' is no URL, no uuid and no DID, and no file has this name.",
    "replay zzz": "'zzz' is no uuid, nor a part of one. Give the uuid, or 6 or more of its characters at the beginning "
    "or the end. `deliveries` lists them.",
    "contacts show zzz": "There is no contact 'zzz'. See `contacts`.",
    "deliveries --webhook zzz": "There is no webhook 'zzz'. Yours are: erp.",
    "replay --since 1d --webhook zzz": "There is no webhook 'zzz'. Yours are: erp.",
}


async def test_names_and_ids_of_nothing(stack: Stack, tmp_path: Path) -> None:
    acme, client = await register(stack, tmp_path, "Acme")
    await client.post("settings/DIDCOMM_WEBHOOK", {"setting": [{"id": "erp", "url": "http://127.0.0.1:9/"}]}, 200)
    told = await asyncio.gather(*(acme.run(*command.split(), code=2) for command in WRONG))
    for (command, words), ran in zip(WRONG.items(), told, strict=True):
        assert words in " ".join(ran.errors.split()), command
    assert await acme.json("deliveries", "--webhook", "erp") == []


async def test_a_contact_by_its_name_and_by_a_part_of_it(pair: tuple[Tool, Tool]) -> None:
    acme, _ = pair
    [contact] = await acme.json("contacts", "--search", "oLt")
    assert (await acme.json("contacts", "show", "bolt"))["uuid"] == contact["uuid"]


async def test_files_that_are_not_there(acme: Tool) -> None:
    made = await acme.run("invite", "--qr", "no-such/code.svg", code=2)
    assert "no-such/code.svg: No such file" in made.errors
    assert "/api/i/" in made.output, "the invitation was made"
    await acme.run("invite", "--goal", "ä" * 1000, "--qr", "code.svg")


async def test_an_answer_that_is_lost_does_nothing_twice(wire: Wire, pair: tuple[Tool, Tool]) -> None:
    acme, _ = pair
    [contact] = await acme.json("contacts")
    acme.url = wire.url
    wire.lose = 2
    await acme.run("send", contact["uuid"], "once")
    assert wire.lose == 0
    # All of its tries: whoever repeats the command by hand has what it takes.
    wire.lose = 4
    lost = await acme.run("send", contact["uuid"], "twice", code=3)
    [key] = re.findall(r"--idempotency-key (\S+)", lost.errors)
    told = json.loads((await acme.run("send", contact["uuid"], "twice", "--idempotency-key", key, "--json")).output)
    await acme.run("reply", told["uuid"], "again", "--idempotency-key", f"{key}-2")
    await acme.run("reply", told["uuid"], "again", "--idempotency-key", f"{key}-2")
    wire.lose = 1
    await acme.run("keys", "new", "kept")
    sent = await acme.json("messages", "--direction", "OUT", "--type", "https://didcomm.org/basicmessage")
    assert [one["message"]["content"] for one in sent] == ["once", "twice", "again"]
    assert [one["name"] for one in await acme.json("keys")] == ["first", "kept"]


async def test_what_is_waited_for_is_not_waited_for_longer_where_the_service_is_away(acme: Tool, wire: Wire) -> None:
    acme.url = wire.url
    waiting = await acme.start("invite", "--wait", "--timeout", "3")
    assert waiting.stdout is not None
    await asyncio.wait_for(waiting.stdout.readline(), 60)
    await wire.cut()
    _, errors = await asyncio.wait_for(waiting.communicate(), 60)
    assert waiting.returncode == 4, errors
    assert "the service cannot be reached" in errors.decode()


async def test_out_of_reach(acme: Tool, wire: Wire, receiver: Receiver) -> None:
    """Nobody there, or somebody who answers something else."""
    key = acme.environment["TNT_SUBSCRIPTION_KEY"]
    await wire.cut()
    for url in (wire.url, receiver.url):
        done = await acme.run("contacts", TNT_URL=url, code=3)
        assert url in done.errors
        assert key not in done.errors
        assert done.output == ""
    done = await acme.run("contacts", "--json", TNT_URL=wire.url, code=3)
    assert json.loads(done.errors)["title"] == "unreachable"
    await wire.mend()


async def test_a_key_goes_to_its_own_service_alone(acme: Tool, receiver: Receiver) -> None:
    await acme.run("profiles", "save", "acme")
    stranger = Tool(receiver.url, acme.folder)
    assert "needs a tenant's key" in (await stranger.run("contacts", code=2)).errors
    named = await stranger.run("contacts", "--url", receiver.url, "--profile", "acme", code=2)
    assert "needs a tenant's key" in named.errors
    assert "needs a tenant's key" in (await acme.run("contacts", "--url", receiver.url, code=2)).errors
    assert receiver.got == []
    elsewhere = Receiver()
    await elsewhere.start()
    receiver.answer = lambda hook: (302, {"Location": elsewhere.url})
    await acme.run("contacts", TNT_URL=receiver.url, code=3)
    await elsewhere.stop()
    assert elsewhere.got == []
    assert len(receiver.got) == 1


async def test_lists_go_on_page_after_page(stack: Stack, tmp_path: Path) -> None:
    acme, client = await register(stack, tmp_path, "Acme")
    tenant = await client.tenant()
    for start in range(0, 210, 70):
        unit = Unit()
        for number in range(start, start + 70):
            uuid, now = stack.app.services.uuid7(), stack.app.services.now()
            contact = Contact(
                uuid=uuid, status=ContactStatus.REQUESTED, display_name=f"P{number}", created_at=now, updated_at=now
            )
            unit.create(contact)
        await tenant.records.commit(unit)
    some = await acme.run("contacts", "-n", "3")
    assert len(some.output.splitlines()) == 4
    assert "only 3 are shown" in some.errors
    everybody = await acme.json("contacts", "-n", "0")
    assert {one["displayName"] for one in everybody} == {f"P{number}" for number in range(210)}
    last = (await acme.run("send", "p209", "found on the second page", code=1)).errors
    assert "code not-connected" in last
    twin = everybody[0]["displayName"]
    await acme.run("invite", "--email", "twin@x.example", "--name", twin.lower())
    ambiguous = await acme.run("send", twin, "to whom?", code=2)
    assert ambiguous.errors.count("REQUESTED") == 2


async def test_output_that_nobody_reads_on(operator: Tool) -> None:
    process = await operator.start("--help")
    assert process.stdout is not None
    process.stdout._transport.close()  # type: ignore[attr-defined]
    _, errors = await process.communicate()
    assert errors == b""
