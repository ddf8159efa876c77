"""Two companies and an operator who have nothing but the command line."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.scenarios.cli import Tool, Wire
from tests.scenarios.foreign import connect_foreign
from tests.scenarios.test_redelivery import body, item
from tests.scenarios.test_webhook_keys import by_public_key
from tests.stack import Client, Receiver, Stack
from tntcore.storage.commit import Unit
from tntcore.storage.records import Contact
from tntcore.storage.states import ContactStatus
from tntcore.version import VERSION

_KEY = re.compile(r"tnt_[\w-]{43}")
# What is never to reach a terminal as it came.
_ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff]")
HOSTILE = (
    "\x1b]0;renamed\x07\x1b[2J\x1b[31mred\x1b[0m \x9b31m C1 \r\nerror: not really\x08\x08 \u202egnp.exe\u202c"
    "\u2066\u2069 \u2028 \ufeff \U000e0041 \x7f \x1bP1$r\x1b\\"
)


@pytest.fixture
def operator(stack: Stack, tmp_path: Path) -> Tool:
    return Tool(stack.url, tmp_path, {"TNT_OPERATOR_KEY": stack.operator["tnt_operator_key"]})


@pytest.fixture
async def wire(stack: Stack) -> AsyncIterator[Wire]:
    made = Wire(stack)
    await made.mend()
    yield made
    await made.cut()


async def register(stack: Stack, folder: Path, name: str) -> tuple[Tool, Client]:
    """A tenant with its key in its environment."""
    client = await stack.register(name)
    (folder / name).mkdir()
    return Tool(stack.url, folder / name, {"TNT_SUBSCRIPTION_KEY": client.key}), client


@pytest.fixture
async def acme(stack: Stack, tmp_path: Path) -> Tool:
    """Connected with nobody."""
    return (await register(stack, tmp_path, "Acme"))[0]


@pytest.fixture
async def pair(stack: Stack, tmp_path: Path) -> tuple[Tool, Tool]:
    """Two tenants, connected; each knows the other by its name."""
    (acme, one), (bolt, other) = await register(stack, tmp_path, "Acme"), await register(stack, tmp_path, "Bolt")
    made = await one.post("invitation", {})
    await other.post("contact", {"invitationUrl": made["invitationUrl"]})

    async def connected() -> bool:
        hits = (await one.get("connection"))["hits"] + (await other.get("connection"))["hits"]
        return len(hits) == 2 and all(each["state"] == "completed" for each in hits)

    await stack.eventually(connected)
    return acme, bolt


async def until(ask: Callable[[], Awaitable[Any]], enough: Callable[[Any], bool]) -> Any:
    async with asyncio.timeout(30):
        while not enough(found := await ask()):  # noqa: ASYNC110  it is told by nobody
            await asyncio.sleep(0.2)
    return found


async def test_from_registration_to_a_conversation(operator: Tool) -> None:
    told = await operator.run("register", "Acme", "--save", "acme")
    assert _KEY.search(told.output) is None, "the key is in the profile"
    shown = await operator.run("register", "Bolt")
    [key] = _KEY.findall(shown.output)
    await operator.run("profiles", "save", "bolt", TNT_SUBSCRIPTION_KEY=key)
    assert stat.S_IMODE(operator.profiles.stat().st_mode) == 0o600
    assert stat.S_IMODE(operator.profiles.parent.stat().st_mode) == 0o700
    listed = await operator.run("profiles")
    assert re.findall(r"^(\*?) +(\w+) +http", listed.output, re.MULTILINE) == [("*", "acme"), ("", "bolt")]
    assert key not in listed.output + listed.errors

    # From here on there is nothing but the profiles.
    person = Tool("", operator.folder)
    waiting = await person.start("invite", "--wait", "--timeout", "60", "--profile", "acme")
    assert waiting.stdout is not None
    url = (await asyncio.wait_for(waiting.stdout.readline(), 60)).decode().strip()
    await person.run("accept", url, "--profile", "bolt", "--name", "ACME Ltd.", "--wait", "--timeout", "20")
    output, errors = await asyncio.wait_for(waiting.communicate(), 60)
    assert waiting.returncode == 0, errors
    assert re.search(r"^state +completed$", output.decode(), re.MULTILINE)
    [contact] = await person.json("contacts")
    assert (contact["displayName"], contact["status"]) == ("Bolt", "ACCEPTED")
    [connection] = await person.json("connections", "list", "--contact", contact["uuid"])
    assert connection["state"] == "completed"
    assert connection["invitationUuid"] in (await person.run("invitations")).output
    assert (await person.json("connections", "show", connection["uuid"]))["uuid"] == connection["uuid"]
    [identity] = await person.json("identities")
    assert identity["did"] in (await person.run("identities", "show", identity["uuid"])).output

    # By name in whatever case, by uuid, by DID; back on the thread.
    first = await person.json("send", "bolt", "by name", "--wait")
    assert first["typeStatus"] == "SENT"
    for name in (contact["uuid"], contact["did"]):
        assert (await person.json("send", name, "again"))["config"]["contactUuid"] == contact["uuid"]
    await person.json("reply", first["uuid"], "and more", "--wait")
    piped = {"@type": "https://example.org/order/1.0/order", "lines": [1, 2]}
    await person.json("send", "Bolt", "--file", "-", piped=json.dumps(piped))

    got = await until(
        lambda: person.json("messages", "--direction", "in", "--profile", "bolt", "-n", "5"),
        lambda found: [one["type"] for one in found][-1:] == [piped["@type"]],
    )
    assert [one["message"].get("content") for one in got] == ["by name", "again", "again", "and more", None]
    assert len({one["actionUuid"] for one in got}) == 4
    shown = await person.run("messages", "show", got[-1]["uuid"], "--profile", "bolt")
    assert '"lines": [' in shown.output
    lines = (await person.run("messages", "-n", "2", "--profile", "bolt")).output.splitlines()
    assert lines[0].split() == ["TIME", "WITH", "STATUS", "TYPE", "ACTION", "UUID", "CONTENT"]
    assert "←  ACME Ltd.  RECEIVED  basicmessage/1.0/message" in lines[1]
    assert "example.org/order/1.0/order" in lines[2]
    of_contact = await person.json("messages", "--since", "1h", "--contact", "ACME LTD.", "--profile", "bolt")
    assert len(of_contact) >= 5
    await person.run("profiles", "use", "bolt")
    assert [one["displayName"] for one in await person.json("contacts")] == ["ACME Ltd."]
    await person.run("profiles", "remove", "bolt")
    assert "no such profile" not in (await person.run("contacts", "--profile", "bolt", code=2)).errors
    await person.run("contacts", "remove", contact["uuid"], "--profile", "acme")
    assert await person.json("contacts", "--profile", "acme") == []


async def test_invitations_of_all_kinds(stack: Stack, acme: Tool, tmp_path: Path) -> None:
    bolt, _ = await register(stack, tmp_path, "Bolt")
    made = await acme.json(
        "invite", "--label", "Purchasing", "--multi-use", "--expires", "2h", "--form", "out-of-band/2", "--goal", "Buy"
    )
    assert (made["multiUse"], made["form"], made["invitation"]["body"]["goal"]) == (True, "out-of-band/2", "Buy")
    assert made["expiresAt"] > made["createdAt"]
    waited = await acme.run("invite", "--wait", "--timeout", "0.1", code=4)
    assert "ended after 0.1 s" in waited.errors
    by_email = await acme.json("invite", "--email", "orders@bolt.example", "--name", "Bolt", "--qr", "code.svg")
    assert "<svg" in (acme.folder / "code.svg").read_text()
    assert by_email["email"] == "orders@bolt.example"
    (bolt.folder / "invitation.json").write_text(json.dumps(by_email["invitation"]))
    await bolt.run("accept", "invitation.json", "--wait", "--timeout", "20")
    again = await acme.json("invite")
    taken = await bolt.json("accept", again["invitationId"], "--name", "By its uuid")
    assert taken["displayName"] == "By its uuid"
    await acme.run("invitations", "revoke", made["uuid"])
    statuses = {one["uuid"]: one["status"] for one in await acme.json("invitations")}
    assert statuses[made["uuid"]] == "REVOKED"
    # A public DID; where nobody can be reached there, that is said.
    [identity] = await acme.json("identities")
    await bolt.run("accept", identity["did"], "--wait", "--timeout", "20")
    nobody = await bolt.run("accept", "did:web:127.0.0.1%3A9:nobody")
    assert "cannot be reached now" in nobody.errors
    for wrong in (
        ("invite", "--expires", "soon"),
        ("invite", "--email", "a@b.example", "--label", "x"),
        ("invite", "--qr", "x.bmp"),
    ):
        await acme.run(*wrong, code=2)


async def test_following(wire: Wire, pair: tuple[Tool, Tool]) -> None:
    acme, bolt = pair
    await acme.run("send", "Bolt", "before")
    bolt.url = wire.url
    async with bolt.running(
        "messages", "--follow", "--json", "-n", "1", "--type", "https://didcomm.org/basicmessage"
    ) as seen:
        assert json.loads(await seen.line())["message"]["content"] == "before"
        await acme.run("send", "Bolt", "one")
        assert json.loads(await seen.line())["message"]["content"] == "one"
        # The service goes away and comes back, with something new.
        await wire.cut()
        await acme.run("send", "Bolt", "meanwhile")
        assert "the service cannot be reached" in await seen.note()
        await wire.mend()
        assert json.loads(await seen.line())["message"]["content"] == "meanwhile"
        assert "answers again" in await seen.note()
        await acme.run("send", "Bolt", "last")
        assert json.loads(await seen.line())["message"]["content"] == "last"
    async with bolt.running("messages", "--follow", "-n", "4") as seen:
        shown = [await seen.line() for _ in range(4)]
        assert [line.rpartition("Acme  ")[2] for line in shown] == ["before", "one", "meanwhile", "last"]


async def test_what_a_stranger_writes_does_nothing_to_the_terminal(
    stack: Stack, pair: tuple[Tool, Tool], tmp_path: Path
) -> None:
    acme, bolt = pair
    await acme.run(
        "send", "Bolt", "--file", "-", piped=json.dumps({"@type": f"https://didcomm.org/{HOSTILE}", HOSTILE: HOSTILE})
    )
    await acme.run("send", "Bolt", HOSTILE.replace("\x00", ""))
    _, mallory = await register(stack, tmp_path, "Mallory")
    # Our API refuses such a label; an agent of another make does not.
    made = await mallory.post("invitation", {"label": "M"})
    invitation = json.dumps({**made["invitation"], "label": f"M {HOSTILE}"}).encode()
    hostile = base64.urlsafe_b64encode(invitation).decode().rstrip("=")
    await bolt.run("accept", f"https://mallory.example/?oob={hostile}", "--wait", "--timeout", "20")
    messages = await until(
        lambda: bolt.json("messages"), lambda found: HOSTILE in [one["message"].get("content") for one in found]
    )
    commands: list[tuple[str, ...]] = [("messages",), ("contacts",), ("connections",), ("deliveries",)]
    commands += [("messages", "show", one["uuid"]) for one in messages]
    commands += [(*command, "--json") for command in commands]
    done = await bolt.run_all(commands)
    assert len(done.output) > 10_000
    assert _ACTIVE.search(done.output + done.errors) is None
    async with bolt.running("messages", "--follow") as seen:
        lines = [await seen.line() for _ in messages]
    assert _ACTIVE.search("".join(lines)) is None
    assert any("\\u001b[2J" in line for line in lines), "it is spelled out"
    # What is answered by a service that is not what it should be: in errors, too.
    done = await bolt.run("messages", "show", HOSTILE.replace("\x00", ""), code=1)
    assert _ACTIVE.search(done.errors) is None


async def test_webhooks_deliveries_and_replay(pair: tuple[Tool, Tool], receiver: Receiver) -> None:
    acme, bolt = pair
    receiver.answer, receiver.text = lambda hook: (410, {}), "gone \x1b[31mfor good"
    added = await bolt.run(
        "webhooks", "add", f"{receiver.url}/hook", "--match", "basicmessage", "--header", "X-Who: bolt"
    )
    [(entry, secret)] = re.findall(r"^id +(\S+)\nsecret +(whsec_\S+)$", added.output, re.MULTILINE)
    for number in range(3):
        await acme.run("send", "Bolt", f"number {number}")
    await receiver.count(1)

    async def status(wanted: str, number: int) -> Any:
        listed = ("deliveries", "--kind", "webhook", "--status", wanted)
        return await until(lambda: bolt.json(*listed), lambda found: len(found) >= number)

    # The answer 410 disabled the webhook: what came after it was kept back.
    failed = await status("failed", 1)
    [hook] = await bolt.json("webhooks")
    assert (hook["status"], hook["for"]) == ("DISABLED", "messages")
    shown = await bolt.run("deliveries", "show", failed[0]["uuid"])
    assert f"\nPOST {receiver.url}/hook\n" in shown.output
    assert '\n  "type": "https://didcomm.org/basicmessage/1.0/message",\n' in shown.output
    assert re.search(r"^1 +\d{4}-\S+ \S+ +\d+ ms +410 .*gone \\u001b\[31mfor good$", shown.output, re.MULTILINE), shown
    refused = await bolt.run("replay", failed[0]["uuid"], code=1)
    assert "code webhook-disabled, trace " in refused.errors
    failing = await bolt.run("webhooks", "test", entry, code=1)
    assert re.search(r"^status +FAILED\nanswered +410$", failing.output, re.MULTILINE)
    before = len(receiver.got)
    receiver.answer = lambda hook: (200, {})
    tested = await bolt.json("webhooks", "test", entry)
    assert (tested["status"], tested["responseStatus"]) == ("DELIVERED", 200)
    await bolt.run("webhooks", "enable", entry)
    done = await bolt.json("replay", "--since", "1h", "--webhook", entry)
    assert (done["status"], done["replayed"]) == ("DONE", 3)
    assert len(await status("DELIVERED", 3)) == 3
    newest = await bolt.json("deliveries", "--kind", "webhook", "-n", "2")
    every = await bolt.json("deliveries", "--kind", "webhook", "-n", "0")
    assert [one["uuid"] for one in newest] == [one["uuid"] for one in every][-2:]
    assert [one["createdAt"] for one in every] == sorted(one["createdAt"] for one in every)
    await receiver.count(before + 1 + 3)
    assert {got.headers.get("X-Who") for got in receiver.got} == {"bolt"}
    one = await bolt.run("replay", failed[0]["uuid"])
    assert one.output.startswith("not sent again: it was sent again less than a minute ago.")
    assert "DELIVERED" in one.output
    told = await bolt.run("replay", "--since", "1h", "--status", "delivered", "--until", "2026-01-01T00:00:00Z")
    assert told.output == "0 queued again, 0 skipped\n"

    rotated = await bolt.json("rotate", "webhook", entry)
    assert rotated["secret"].startswith("whsec_")
    assert rotated["secret"] != secret
    setting = await bolt.json("settings", "get", "didcomm_webhook")
    assert [each["id"] for each in setting["setting"]] == [entry]
    changed = [{**setting["setting"][0], "match": "order"}]
    await bolt.run("settings", "set", "DIDCOMM_WEBHOOK", "-", piped=json.dumps(changed))
    task = await bolt.run("webhooks", "add", f"{receiver.url}/task", "--task")
    assert "whsec_" in task.output
    assert [(each["for"], each["match"]) for each in await bolt.json("webhooks")] == [
        ("messages", "order"),
        ("tasks", ".*"),
    ]
    await bolt.run("webhooks", "remove", entry)
    await bolt.run("settings", "remove", "TASK_WEBHOOK")
    assert await bolt.json("webhooks") == []
    assert secret not in "".join(done.output + done.errors for done in bolt.ran if done is not added)
    for wrong in (
        ("webhooks", "test", "nobody"),
        ("webhooks", "add", "https://a.example", "--header", "no colon"),
        ("replay",),
        ("replay", "x", "--since", "1h"),
        ("replay", "x", "--status", "FAILED"),
    ):
        await bolt.run(*wrong, code=2)


async def test_poison(stack: Stack, operator: Tool) -> None:
    foreign = await connect_foreign(stack, await stack.register("Poisoned"))
    hook = await foreign.client.webhook()
    given = item(foreign, "at last")
    await stack.app.poison.handle("inbound", f"cli-{given['id']}", body(given))
    await stack.app.poison.handle("relay", "cli-senseless", b"\xff no JSON")
    [hit] = [one for one in await operator.json("poison", "--queue", "inbound") if given["id"] in one["id"]]
    shown = (await operator.run("poison")).output
    assert re.search(rf"inbound +1 of 1 tenant\(s\) +\d+ +yes +{hit['id']}$", shown, re.MULTILINE)
    assert re.search(r"relay +\d+ +no +cli-senseless$", shown, re.MULTILINE)

    # The tenant sees it too, and then that it was handled.
    person = Tool(stack.url, operator.folder, {"TNT_SUBSCRIPTION_KEY": foreign.client.key})
    [failed] = await person.json("messages")
    assert (failed["status"], failed["error"]) == ("FAILED", "handling-failed")
    done = await operator.run("poison", "replay", "--tenant", foreign.client.uuid)
    assert done.output == "1 put back on their queues\n"
    await hook.count(1)
    [handled] = await person.json("messages")
    assert (handled["uuid"], handled["status"], handled["message"]["content"]) == (given["id"], "RECEIVED", "at last")

    done = await operator.run("poison", "replay", "relay", "cli-senseless")
    assert done.output == "0 put back on their queues, 1 cannot be handled and stay\n"
    asked = await operator.run("poison", "forget", "relay", "cli-senseless", piped="n\n", code=130)
    assert "permanently?" in asked.errors
    await operator.run("poison", "forget", "relay", "cli-senseless", "--yes")
    gone = await operator.run("poison", "forget", "relay", "cli-senseless", "--yes", code=1)
    assert "code poison-unknown, trace " in gone.errors


async def test_the_operators_part(operator: Tool, stack: Stack) -> None:
    await stack.register("Rewrapped")
    health = await operator.run("health")
    assert re.findall(r"^ +(\w+) +(.*)$", health.output, re.MULTILINE) == [
        ("version", VERSION),
        ("tables", "ok"),
        ("queues", "ok"),
        ("blobs", "ok"),
    ]
    # Other tests leave tenants whose keys cannot be opened: those are named, and the code says so.
    done = await operator.run("rotate", "master-key", "--json", code=None)
    rewrapped = json.loads(done.output)
    assert done.code == bool(rewrapped["failed"])
    assert rewrapped["rewrapped"] + rewrapped["unchanged"] + len(rewrapped["failed"]) >= 1
    for command in (("register", "x"), ("poison",), ("rotate", "master-key")):
        without = await operator.run(*command, code=2, TNT_OPERATOR_KEY="")
        assert "TNT_OPERATOR_KEY" in without.errors
        wrong = await operator.run(*command, code=1, TNT_OPERATOR_KEY="wrong-key")
        assert "code operator-key-unknown" in wrong.errors
        assert "wrong-key" not in wrong.errors


async def test_keys(acme: Tool) -> None:
    made = await acme.run("keys", "new", "the ERP")
    second = made.output.strip()
    assert _KEY.fullmatch(second)
    saved = await acme.run("keys", "new", "notebook", "--save", "notebook")
    assert _KEY.search(saved.output + saved.errors) is None
    listed = await acme.json("keys", TNT_SUBSCRIPTION_KEY=second)
    assert [(one["name"], one["status"]) for one in listed] == [
        (name, "ACTIVE") for name in ("first", "the ERP", "notebook")
    ]
    await acme.run("keys", "revoke", listed[1]["uuid"])
    refused = await acme.run("keys", code=1, TNT_SUBSCRIPTION_KEY=second)
    assert "code key-unknown" in refused.errors
    assert second not in refused.errors
    # A key that is no key is not shown either, wherever it went wrong.
    for broken in (f"{second}\n{second}", f"{second} x", f"{second}é", f"{second}\x00"[:-1] + "\x1b"):
        done = await acme.run("contacts", code=2, TNT_SUBSCRIPTION_KEY=broken)
        assert second not in done.errors
        assert "TNT_SUBSCRIPTION_KEY is not a key" in done.errors


async def test_a_key_that_cannot_be_saved_is_not_made(operator: Tool, acme: Tool) -> None:
    """Nobody would ever see it."""
    nowhere = acme.folder / "nowhere"
    nowhere.symlink_to("missing/deeper")
    there = str(nowhere / "profiles.json")
    done = await acme.run("keys", "new", "lost", "--save", "lost", code=2, TNT_PROFILES=there)
    assert str(nowhere) in done.errors
    assert [one["name"] for one in await acme.json("keys")] == ["first"]
    done = await operator.run("register", "Lost", "--save", "lost", code=2, TNT_PROFILES=there)
    assert str(nowhere) in done.errors


async def test_files_that_are_not_there(acme: Tool) -> None:
    assert "no-such.json: No such file" in (await acme.run("accept", "no-such.json", code=2)).errors
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


async def test_operators_have_keys_of_their_own(operator: Tool, stack: Stack, tmp_path: Path) -> None:
    made = await operator.run("operator", "new", "Rex", "--role", "read", "--expires", "90d", "--save", "rex")
    assert "in profile rex" in made.output
    assert "tnto_" not in made.output
    me = await operator.json("operator", "me", "--profile", "rex", TNT_OPERATOR_KEY="")
    assert (me["name"], me["role"]) == ("Rex", "read")
    refused = await operator.run("register", "x", "--profile", "rex", code=1, TNT_OPERATOR_KEY="")
    assert "code role-too-low" in refused.errors
    rotated = await operator.json("operator", "rotate", me["uuid"])
    assert rotated["headers"]["tnt-operator-key"].startswith("tnto_")
    assert "Rex" in (await operator.run("operator")).output
    await operator.run("operator", "revoke", me["uuid"])
    for wrong in ((), (me["uuid"], "--all"), ("--name", "Rex", "--all")):
        assert "Give either" in (await operator.run("operator", "revoke", *wrong, code=2)).errors
    unknown = await operator.run("operator", "revoke", "--name", "nobody has it", code=1)
    assert "code operator-unknown" in unknown.errors
    for number in range(2):
        await operator.run("operator", "new", "Many", "--role", "read", "--save", f"many{number}")
    assert len(await operator.json("operator", "revoke", "--name", "Many")) == 2
    refused = await operator.run("operator", "me", "--profile", "many1", code=1, TNT_OPERATOR_KEY="")
    assert "code operator-key-unknown" in refused.errors
    assert "no other key to revoke" in (await operator.run("operator", "revoke", "--name", "Many")).output
    acts = [act for act in await operator.json("operator", "audit", "-n", "7") if act["details"].get("name") != "Many"]
    assert [act["act"] for act in acts] == ["operator.revoked", "operator.rotated", "operator.made"]
    # A token of a provider is a bearer token, which is not taken here.
    token = await operator.run("operator", "me", code=1, TNT_OPERATOR_KEY="a.b.c")
    assert "code operator-key-missing" in token.errors


async def test_the_first_operator(operator: Tool, stack: Stack) -> None:
    without = await operator.run("operator", "first", "Ada", code=2)
    assert "TNT_HOST_KEY" in without.errors
    exists = await operator.run("operator", "first", "Ada", code=1, TNT_HOST_KEY="operator")
    assert "code operator-exists" in exists.errors
    wrong = await operator.run("operator", "first", "Ada", code=1, TNT_HOST_KEY="wrong-key")
    assert "refused the key" in wrong.errors
    storage = {"AzureWebJobsStorage": stack.storage}
    refused = await operator.run("operator", "first", "Ada", "--storage", code=2, **storage)
    assert "already has a key" in refused.errors
    unknown = await operator.run("operator", "first", "Ada", "--storage", code=2)
    assert "AzureWebJobsStorage is missing" in unknown.errors
    made = await operator.json("operator", "first", "Rescue", "--storage", "--anyway", "--expires", "1h", **storage)
    key = made["headers"]["tnt-operator-key"]
    me = await operator.json("operator", "me", TNT_OPERATOR_KEY=key)
    assert (me["name"], me["role"]) == ("Rescue", "admin")
    [act] = [act for act in await operator.json("operator", "audit", "-n", "20") if act["on"] == me["uuid"]]
    assert (act["act"], act["by"]["kind"]) == ("operator.made", "storage")


async def test_tenants_are_found_suspended_and_resumed(operator: Tool, stack: Stack, tmp_path: Path) -> None:
    tool, client = await register(stack, tmp_path, "Quokka")
    assert [hit["uuid"] for hit in await operator.json("tenants", "--name", "quokka")] == [client.uuid]
    assert (await operator.json("tenants", "suspend", client.uuid, "--reason", "unpaid"))["status"] == "SUSPENDED"
    assert (await tool.json("account"))["status"] == "SUSPENDED"
    assert "code tenant-suspended" in (await tool.run("messages", code=1)).errors
    await operator.run("tenants", "resume", client.uuid)
    await tool.run("keys", "new", "reader", "--scope", "read", "--expires", "1d")
    shown = await tool.run("keys")
    assert "read" in shown.output
    for acts in (await tool.json("audit"), await operator.json("tenants", "audit", client.uuid)):
        assert [act["act"] for act in acts] == [
            "api-token.made",
            "tenant.resumed",
            "tenant.suspended",
            "tenant.registered",
        ]
    assert (await operator.json("tenants", "show", client.uuid))["displayName"] == "Quokka"


async def test_uuids_and_types_are_named_by_a_part(pair: tuple[Tool, Tool]) -> None:
    acme, _ = pair
    sent = await acme.json("send", "Bolt", "by a part", "--wait")
    [message] = await acme.json("messages", "--type", "basicmessage")
    assert message["actionUuid"] == sent["uuid"]
    assert await acme.json("messages", "--type", "basicmess", "--action", sent["uuid"][-8:]) == [message]
    assert await acme.json("messages", "--type", "https://example.org") == []
    listed = (await acme.run("messages", "--type", "basicmessage")).output.splitlines()
    assert "  ACTION  " in listed[0]
    assert f"  {sent['uuid']}  " in listed[1]
    assert (await acme.json("reply", sent["uuid"][-8:], "on its thread"))["uuid"] == sent["uuid"]
    for text in (message["uuid"][-8:], message["uuid"][-12:].upper(), message["uuid"][:30]):
        assert (await acme.json("messages", "show", text))["uuid"] == message["uuid"]
    assert "Give the whole uuid" in (await acme.run("messages", "show", "abcdef012345", code=2)).errors
    assert "code uuid-invalid" in (await acme.run("messages", "show", "abc", code=1)).errors
    [contact] = await acme.json("contacts")
    assert (await acme.json("contacts", "show", contact["uuid"][-8:]))["uuid"] == contact["uuid"]
    await acme.run("send", contact["uuid"][-6:], "to its end")
    # Those of one moment begin alike: all are named.
    made = [await acme.json("keys", "new", f"key {number}") for number in range(2)]
    uuids = [one["uuid"] for one in made]
    several = await acme.run("keys", "revoke", uuids[0][:6], code=2)
    assert [uuid for uuid in uuids if uuid in several.errors] == uuids
    await acme.run("keys", "revoke", uuids[0][-8:])
    statuses = {one["uuid"]: one["status"] for one in await acme.json("keys")}
    assert [statuses[uuid] for uuid in uuids] == ["REVOKED", "ACTIVE"]


async def test_webhooks_on_a_machine_without_an_address(
    wire: Wire, pair: tuple[Tool, Tool], receiver: Receiver
) -> None:
    acme, bolt = pair
    hook = Receiver()
    await hook.start()
    await bolt.run("webhooks", "add", hook.url)
    await acme.run("send", "Bolt", "before")
    await hook.count(1)
    bolt.url = wire.url
    receiver.answer = lambda hook: (204, {})
    async with bolt.running("listen", "--forward-to", f"{receiver.url}/didcomm", "--json") as seen:
        begun = json.loads(await seen.line())
        secret = begun["secret"]
        await acme.run("send", "Bolt", "one é 12345678901234567890")
        told = json.loads(await seen.line())
        assert (told["responseStatus"], told["error"], told["attempts"]) == (204, None, 1)
        [got] = receiver.got
        given = {name.lower(): value for name, value in got.headers.items()}
        Webhook(secret).verify(got.body, given)
        assert by_public_key(got, begun["publicKey"])
        body = json.loads(got.body)
        real = json.loads((await hook.until(lambda call: body["sequence"].encode() in call.body)).body)
        assert {**body, "eventUuid": ""} == {**real, "eventUuid": ""}
        assert given["webhook-id"] == body["eventUuid"] == told["eventUuid"]
        # The receiver fails, and the service goes away; nothing is lost.
        receiver.answer = lambda hook: (500 if len(receiver.got) < 3 else 204, {})
        await acme.run("send", "Bolt", "two")
        told = json.loads(await seen.line())
        assert (told["responseStatus"], told["attempts"]) == (204, 2)
        await wire.cut()
        await acme.run("send", "Bolt", "meanwhile")
        while "the service cannot be reached" not in await seen.note():
            pass
        await wire.mend()
        assert json.loads(await seen.line())["responseStatus"] == 204
    await hook.stop()
    contents = [json.loads(call.body)["message"]["content"] for call in receiver.got]
    assert contents == ["one é 12345678901234567890", "two", "two", "meanwhile"]
    # Again from before, with the same ids and the same secret.
    older = ("--since", "1h", "--type", "basicmessage")
    both = begun["both"]
    async with bolt.running("listen", "--forward-to", receiver.url, *older, TNT_WEBHOOK_SECRET=both) as seen:
        assert secret in await seen.line()
        assert begun["publicKey"] in await seen.line()
        lines = [await seen.line() for _ in range(4)]
    assert all("204" in line and "basicmessage/1.0/message" in line for line in lines)
    again = [json.loads(call.body) for call in receiver.got[-4:]]
    assert again[0]["message"]["content"] == "before"
    assert again[1]["eventUuid"] == body["eventUuid"]
    assert by_public_key(receiver.got[-1], begun["publicKey"])
    for wrong in ("ftp://x", "http://user:secret@x", "x"):
        assert "secret@" not in (await bolt.run("listen", "--forward-to", wrong, code=2)).errors
    for wrong in ("whsec_short", f"{secret} {secret}", f"{secret} whsk_short", f"{secret} and more"):
        broken = await bolt.run("listen", "--forward-to", receiver.url, code=2, TNT_WEBHOOK_SECRET=wrong)
        assert not [word for word in wrong.split() if word.startswith("wh") and word in broken.errors]


async def test_usage_and_counts(operator: Tool, stack: Stack, pair: tuple[Tool, Tool]) -> None:
    acme, _ = pair
    await acme.run("send", "Bolt", "counted", "--wait")
    counted = await acme.json("messages", "count", "--direction", "out", "--type", "basicmessage")
    assert (counted["total"], counted["byStatus"]) == (1, {"SENT": 1})
    shown = (await acme.run("messages", "count", "--contact", "Bolt", "--since", "1h")).output
    assert re.search(r"^DAY +TOTAL ", shown)
    assert re.search(r"^all +\d+ ", shown, re.MULTILINE)
    assert (await acme.json("deliveries", "count", "--until", "2026-01-01T00:00:00Z"))["total"] == 0
    assert (await acme.json("deliveries", "count", "--webhook", "nobody"))["total"] == 0
    month = (await acme.json("usage"))["months"][0]
    assert month["messagesOut"] >= 1
    uuid = (await acme.json("account"))["principalUuid"]
    assert (await operator.json("tenants", "usage", uuid))["months"][0]["messagesOut"] >= 1
    assert month["month"] in (await operator.run("tenants", "usage", uuid[-8:])).output
    queues = (await operator.json("backlog"))["queues"]
    assert [queue["queue"] for queue in queues] == ["inbound", "exchange", "outbound", "relay"]
    assert re.search(r"^relay +\d+", (await operator.run("backlog")).output, re.MULTILINE)


async def test_tenants_are_limited_and_deleted(operator: Tool, stack: Stack, tmp_path: Path) -> None:
    tool, client = await register(stack, tmp_path, "Wombat")
    short = client.uuid[-8:]
    assert "default" in (await operator.run("tenants", "limits", short)).output
    await operator.run("tenants", "limits", short, "--stored-bytes", "1000000")
    changed = await operator.json("tenants", "limits", short, "--messages-per-minute", "60")
    assert changed["limits"] == {"storedBytes": 1_000_000, "messagesPerMinute": 60}
    assert (await operator.json("tenants", "limits", short, "--defaults"))["limits"] == {}
    kept = await operator.run("tenants", "delete", short, code=2, piped="Wombats\n")
    assert "Nothing was deleted" in kept.errors
    assert (await tool.json("account"))["displayName"] == "Wombat"
    await operator.run("tenants", "delete", short, "--name", "Wombat")
    assert "code key-unknown" in (await tool.run("account", code=1)).errors
