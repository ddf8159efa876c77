"""The command line and webhooks: entries, deliveries, replays, and calls passed on."""

from __future__ import annotations

import json
import re
from typing import Any

from standardwebhooks import Webhook

from tests.scenarios.cli.tool import Tool, Wire, until
from tests.scenarios.test_webhook_keys import by_public_key
from tests.stack import Receiver


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
