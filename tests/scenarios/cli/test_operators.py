"""The operators' commands, and everybody's keys."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.scenarios.cli.test_conversations import _KEY
from tests.scenarios.cli.tool import Tool, register
from tests.scenarios.foreign import connect_foreign
from tests.scenarios.test_redelivery import body, item
from tests.stack import Stack
from tntcore.version import VERSION


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


async def test_usage_and_counts(operator: Tool, stack: Stack, pair: tuple[Tool, Tool]) -> None:
    acme, _ = pair
    await acme.run("send", "Bolt", "counted", "--wait")
    counted = await acme.json("messages", "count", "--direction", "out", "--type", "basicmessage")
    assert (counted["total"], counted["byStatus"]) == (1, {"SENT": 1})
    shown = (await acme.run("messages", "count", "--contact", "Bolt", "--since", "1h")).output
    assert re.search(r"^DAY +TOTAL ", shown)
    assert re.search(r"^all +\d+ ", shown, re.MULTILINE)
    assert (await acme.json("deliveries", "count", "--until", "2026-01-01T00:00:00Z"))["total"] == 0
    unknown = await acme.run("deliveries", "count", "--webhook", "nobody", code=2)
    assert "There is no webhook 'nobody'" in unknown.errors
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
