"""The command line between two partners: from registration to a conversation."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import stat
from pathlib import Path

from tests.scenarios.cli.tool import Tool, Wire, register, until
from tests.stack import Stack

_KEY = re.compile(r"tnt_[\w-]{43}")
# What is never to reach a terminal as it came.
_ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff]")
HOSTILE = (
    "\x1b]0;renamed\x07\x1b[2J\x1b[31mred\x1b[0m \x9b31m C1 \r\nerror: not really\x08\x08 \u202egnp.exe\u202c"
    "\u2066\u2069 \u2028 \ufeff \U000e0041 \x7f \x1bP1$r\x1b\\"
)


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


async def test_a_wait_for_sending_ends(acme: Tool) -> None:
    """The contact has not accepted yet, so the message is held."""
    await acme.json("invite", "--email", "orders@bolt.example", "--name", "Bolt")
    waited = await acme.run("send", "Bolt", "soon", "--wait", "--timeout", "0.1", code=4)
    [message] = await acme.json("messages")
    assert f"the message of action {message['actionUuid']} is sent" in waited.errors
    assert "ended after 0.1 s" in waited.errors


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
        "send", "Bolt", "--file", "-", piped=json.dumps({"@type": f"https://a.example/{HOSTILE}", HOSTILE: HOSTILE})
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
    done = await bolt.run("messages", "show", HOSTILE.replace("\x00", ""), code=2)
    assert _ACTIVE.search(done.errors) is None


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
    assert "'abc' is no uuid, nor a part of one." in (await acme.run("messages", "show", "abc", code=2)).errors
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
