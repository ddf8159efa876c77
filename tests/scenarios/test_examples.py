"""The original client's own examples, as they stand: an ack with an attachment, and a problem report."""

from __future__ import annotations

import uuid
from typing import Any

import orjson
import pytest

from tests.scenarios.common import basic, settled
from tests.scenarios.foreign import connect_foreign
from tests.stack import Client, Stack
from tntcore.dids.document import Version

ACK = "https://didcomm.org/notification/1.0/ack"
REPORT = "https://didcomm.org/report-problem/1.0/problem-report"
ATTACHED = {"orderNumber": "4711", "lines": [{"quantity": 2, "ä": None}]}


def ack(**more: Any) -> dict[str, Any]:
    return {"@type": ACK, "status": "OK", "ack~attach": {"data": ATTACHED}, **more}


def report(**more: Any) -> dict[str, Any]:
    return {
        "@type": REPORT,
        "description": {"code": "order-refused"},
        "problem_items": [{"line": "1"}],
        "where": "them - order",
        "noticed_time": "2026-01-31 12:00:00Z",
        **more,
    }


@pytest.mark.parametrize(
    ("version", "given", "spelling"),
    [
        ("v1", "nothing", "DIDCOMM"),
        ("v1", "everything", "didcomm"),
        ("v1", "referenceID", "DidComm"),
        ("v1", "~thread", "DIDCOMM"),
        ("v2", "nothing", "DIDCOMM"),
        ("v2", "everything", "DIDCOMM"),
    ],
)
async def test_ack(stack: Stack, pair: tuple[Client, Client], version: Version, given: str, spelling: str) -> None:
    acme, bolt = pair
    hook = await bolt.webhook("notification/1.0/ack")
    mine, _ = await stack.connect(acme, bolt, version)
    thread = str(uuid.uuid4())
    message, action = ack(), {}
    if given in ("everything", "~thread"):
        message["~thread"] = {"thid": thread}
    if given in ("everything", "referenceID"):
        action["referenceID"] = thread
    if given == "everything":
        message["@id"] = str(uuid.uuid4())
    answer = await acme.post(
        "action",
        {
            "type": spelling,
            "from": acme.identity["did"],
            "to": bolt.identity["did"],
            "command": "message",
            "data": {"message": message},
            "config": {"contactUuid": mine.contact_uuid},
            **action,
        },
    )
    assert answer["referenceID"] == (answer["uuid"] if given == "nothing" else thread)
    assert answer["principalUuid"] == acme.uuid
    assert (answer["from"], answer["to"]) == (acme.identity["did"], bolt.identity["did"])
    assert (answer["type"], answer["typeVersion"], answer["direction"]) == ("DIDCOMM", "1.0", "OUT")
    assert answer["typeStatus"] in ("SENDING", "SENT")
    got = (await hook.until(lambda hook: True)).json()
    assert got["type"] == ACK
    received = got["message"]
    if version == "v1":
        assert received["@id"] == message.get("@id", received["@id"])
        assert received["~thread"] == {"thid": answer["referenceID"]}
        assert {name: received[name] for name in ("status", "ack~attach")} == {
            "status": "OK",
            "ack~attach": {"data": ATTACHED},
        }
    else:
        assert received["thid"] == answer["referenceID"]
        assert received["body"] == {"status": "OK"}
    [asset] = got["assetDataUuids"]
    data = await bolt.get(f"asset-data/{asset}")
    assert data["value"] == ATTACHED
    assert data["messageUuid"] == got["assetUuid"]
    assert data["actionUuid"] == got["actionUuid"]
    shown = await bolt.get(f"action/{got['actionUuid']}")
    assert shown["referenceID"] == answer["referenceID"]
    assert shown["direction"] == "IN"
    assert (shown["from"], shown["to"]) == (acme.identity["did"], bolt.identity["did"])
    assert shown["config"] == {"contactUuid": got["contactUuid"]}
    assert shown["messages"] == [got["assetUuid"]]
    [kept] = await settled(acme, answer["uuid"], 1)
    assert kept["message"]["@type"] == ACK  # what the tenant gave, whatever shape it went out in
    assert kept["status"] == "SENT"


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("named_by", ["thid", "pthid = thread", "pthid = message"])
async def test_a_problem_report_ends_the_action(
    stack: Stack, pair: tuple[Client, Client], version: Version, named_by: str
) -> None:
    acme, bolt = pair
    hook, back = await bolt.webhook(), await acme.webhook()
    mine, theirs = await stack.connect(acme, bolt, version)
    action = await acme.act(mine.contact_uuid, basic("please", **{"@id": "order-1"}))
    await acme.post(
        f"action/{action['uuid']}", {"command": "message", "data": {"message": basic("2", **{"@id": "order-2"})}}, 200
    )
    await hook.count(2)
    before = await acme.get(f"action/{action['uuid']}")
    assert before["status"] == "ACTIVE"
    assert "error" not in before["config"]
    thread = {
        "thid": {"thid": action["referenceID"]},
        "pthid = thread": {"thid": "new", "pthid": action["referenceID"]},
        "pthid = message": {"thid": "new", "pthid": "order-2"},
    }[named_by]
    sent = report(**{"~thread": thread})
    await bolt.act(theirs.contact_uuid, sent)
    got = (await back.until(lambda hook: True)).json()
    assert got["type"] == REPORT
    after = await acme.get(f"action/{action['uuid']}")
    assert after["status"] == "ERROR"
    error = after["config"]["error"]
    assert error == got["message"]
    inner = error if version == "v1" else error["body"]
    assert {name: inner[name] for name in ("description", "problem_items", "where", "noticed_time")} == {
        name: sent[name] for name in ("description", "problem_items", "where", "noticed_time")
    }
    assert after["createdAt"] == before["createdAt"]
    # The sender of the report has ended nothing of its own.
    for hit in (await bolt.get("action"))["hits"]:
        assert hit["status"] == "ACTIVE"


async def test_a_problem_report_on_an_action_of_theirs(stack: Stack, pair: tuple[Client, Client]) -> None:
    """Who began the thread does not matter."""
    acme, bolt = pair
    hook, back = await bolt.webhook(), await acme.webhook()
    _, theirs = await stack.connect(acme, bolt)
    action = await bolt.act(theirs.contact_uuid, basic())
    received = (await back.until(lambda hook: True)).json()
    await bolt.post(f"action/{action['uuid']}", {"command": "message", "data": {"message": report()}}, 200)
    await back.count(2)
    shown = await acme.get(f"action/{received['actionUuid']}")
    assert shown["status"] == "ERROR"
    assert shown["config"]["error"]["description"] == {"code": "order-refused"}
    assert hook.got == []


async def test_a_problem_report_is_believed_from_nobody_else(stack: Stack, pair: tuple[Client, Client]) -> None:
    """Neither from who does not say who it is, nor on another connection's thread."""
    acme, bolt = pair
    back = await acme.webhook()
    mine, _ = await stack.connect(acme, bolt)
    foreign = await connect_foreign(stack, acme)
    action = await acme.act(mine.contact_uuid, basic())
    own = await acme.act(foreign.connection.contact_uuid, basic("never arrives", **{"@id": "mine"}))
    for number, (thread, anonymous) in enumerate(
        [
            ({"thid": action["referenceID"]}, False),
            ({"thid": "x", "pthid": action["referenceID"]}, False),
            ({"thid": own["referenceID"]}, True),
            ({"thid": "y", "pthid": own["referenceID"]}, True),
            ({"thid": "z", "pthid": "mine"}, True),
        ]
    ):
        packed = foreign.v1(orjson.dumps(report(**{"~thread": thread, "@id": str(number)})), anonymous=anonymous)
        assert (await stack.deliver(packed)).status == 202
    await back.count(5)
    for uuid_ in (action["uuid"], own["uuid"]):
        assert (await acme.get(f"action/{uuid_}"))["status"] == "ACTIVE"


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("by", ["action", "referenceID", "~thread"])
@pytest.mark.parametrize("own_reference", [False, True], ids=["default thread", "own thread"])
async def test_replies_are_on_the_same_action(
    stack: Stack, pair: tuple[Client, Client], version: Version, by: str, own_reference: bool
) -> None:
    acme, bolt = pair
    hook, back = await bolt.webhook(), await acme.webhook()
    mine, theirs = await stack.connect(acme, bolt, version)
    action = await acme.act(
        mine.contact_uuid, basic("question"), **({"referenceID": "order 4711/ä"} if own_reference else {})
    )
    asked = (await hook.until(lambda hook: True)).json()
    if by == "action":
        answered = await bolt.post(
            f"action/{asked['actionUuid']}",
            {
                "command": "message",
                "data": {"message": basic("answer", **{"~thread": {"thid": action["referenceID"]}})},
            },
            200,
        )
    elif by == "referenceID":
        answered = await bolt.act(theirs.contact_uuid, basic("answer"), referenceID=action["referenceID"])
    else:
        answered = await bolt.act(theirs.contact_uuid, basic("answer", **{"~thread": {"thid": action["referenceID"]}}))
    assert answered["uuid"] == asked["actionUuid"]
    got = (await back.until(lambda hook: True)).json()
    assert got["actionUuid"] == action["uuid"]
    for client, uuid_, sides in (
        (acme, action["uuid"], ["OUT", "IN"]),
        (bolt, asked["actionUuid"], ["IN", "OUT"]),
    ):
        found = await settled(client, uuid_, 2)
        assert [message["direction"] for message in found] == sides
        contents = [(message["message"].get("body") or message["message"])["content"] for message in found]
        assert contents == ["question", "answer"]
        assert (await client.get("action"))["total"]["value"] == 1
    # What is answered is the action as it is, not as a new one would be.
    shown = await bolt.get(f"action/{asked['actionUuid']}")
    assert shown["direction"] == "IN"
    for name in ("uuid", "createdAt", "direction", "from", "to", "referenceID", "config"):
        assert answered[name] == shown[name], name


async def test_a_later_message_does_not_wipe_the_report_that_ended_a_thread(
    stack: Stack, pair: tuple[Client, Client]
) -> None:
    acme, bolt = pair
    mine, theirs = await stack.connect(acme, bolt)
    action = await acme.act(mine.contact_uuid, {"@type": "https://example.org/a/1.0/question"})
    thread = {"~thread": {"thid": action["referenceID"]}}
    report = {"@type": "https://didcomm.org/report-problem/1.0/problem-report", "description": {"code": "no"}, **thread}
    hook = await acme.webhook()
    await bolt.act(theirs.contact_uuid, report)
    await hook.count(1)
    await bolt.act(theirs.contact_uuid, {"@type": "https://example.org/a/1.0/afterthought", **thread})
    await hook.count(2)
    shown = await acme.get(f"action/{action['uuid']}")
    assert (shown["status"], shown["config"]["error"]["description"]["code"]) == ("ERROR", "no")
