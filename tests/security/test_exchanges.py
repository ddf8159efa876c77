"""Attackers, and agents that are careless, in exchanges of credentials and proofs."""

import asyncio
import base64
import time
from typing import Any

import orjson
import pytest

from tests.scenarios.agent import Agent
from tests.scenarios.foreign import Foreign, connect_foreign
from tests.scenarios.signer import bind, external_signer
from tests.scenarios.test_credentials import DIPLOMA, offer
from tests.scenarios.test_exchanges import only
from tests.stack import Client, Receiver, Stack
from tntcore.identities import signing
from tntcore.storage.commit import Unit
from tntcore.storage.records import AttachedMessage, Exchange

ISSUE, PROVE = "https://didcomm.org/issue-credential/2.0", "https://didcomm.org/present-proof/2.0"
KEYS = {
    "propose-credential": "filters~attach",
    "offer-credential": "offers~attach",
    "request-credential": "requests~attach",
    "issue-credential": "credentials~attach",
    "propose-presentation": "proposals~attach",
    "request-presentation": "request_presentations~attach",
    "presentation": "presentations~attach",
}


def said(type_: str, thid: str, id_: str, value: Any = None, format_: str = "", **more: Any) -> dict[str, Any]:
    """A message of either protocol, with one attachment where there is a value."""
    attached: dict[str, Any] = {}
    if value is not None:
        attached = {
            KEYS[type_.rpartition("/")[2]]: [{"@id": "0", "mime-type": "application/json", "data": {"json": value}}],
            "formats": [{"attach_id": "0", "format": format_}],
        }
    return {"@type": type_, "@id": id_, "~thread": {"thid": thid}, **attached, **more}


def item(foreign: Foreign, message: dict[str, Any]) -> dict[str, Any]:
    """What the door puts in the queue for the other side's message."""
    return {
        "id": foreign.stack.app.services.uuid7(),
        "p": foreign.client.uuid,
        "o": "connection",
        "u": foreign.connection.uuid,
        "e": foreign.v1(orjson.dumps(message)).decode(),
    }


async def comes(foreign: Foreign, *messages: dict[str, Any]) -> list[Any]:
    """The stored messages, after all of them came together and were handled."""
    items = [item(foreign, message) for message in messages]
    await foreign.stack.app.exchange.handle(orjson.dumps({"items": items}), 1)
    return [await foreign.client.get(f"message/{one['id']}") for one in items]


async def requesting(client: Client, exchange: Any) -> dict[str, Any]:
    """The holder's request for what the client offers, as the holder is to send it, without `@type` and so on."""
    message = (await client.get(f"message/{exchange['messages']['offer']}"))["message"]
    return orjson.loads(base64.b64decode(message["offers~attach"][0]["data"]["base64"]))  # type: ignore[no-any-return]


DETAIL = "aries/ld-proof-vc-detail@v1.0"


@pytest.fixture
async def foreign(stack: Stack) -> Foreign:
    return await connect_foreign(stack, await stack.register("Tenant"))


async def test_who_is_not_accepted_yet_is_issued_nothing(stack: Stack) -> None:
    """The offer is in an invitation, and the tenant wants to see who answers it."""
    tenant = await stack.register("Tenant")
    await tenant.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoAcceptConnections": False}}, 200)
    data = {"credential": DIPLOMA, "options": {"proofType": "Ed25519Signature2020"}}
    made = await tenant.post("credential", {"invitation": {"form": "out-of-band/2"}, "data": data})
    invitation, inbox = made["invitation"], Receiver()
    await inbox.start()
    stranger = Agent(stack, inbox)
    offered = invitation["attachments"][0]["data"]["json"]
    request = {
        "id": "request",
        "type": "https://didcomm.org/issue-credential/3.0/request-credential",
        "thid": offered["id"],
        "pthid": invitation["id"],
        "attachments": [{"id": "0", "format": DETAIL, "data": offered["attachments"][0]["data"]}],
    }
    await stranger.send(request, invitation["from"])
    asked = await only(stack, tenant, "request-received")
    assert asked["status"] == "WAITING"
    assert (await tenant.get("credential"))["hits"] == []
    assert inbox.got == []
    await tenant.post(f"connection/{asked['connectionUuid']}/accept", {}, 200)
    await tenant.post(f"exchange/{asked['uuid']}/accept", {}, 200)
    issued = await stranger.got(lambda message: message["type"].endswith("/issue-credential"))
    assert issued["thid"] == offered["id"]
    await inbox.stop()


async def test_an_offer_in_an_invitation_that_was_withdrawn(stack: Stack) -> None:
    issuer, holder = await stack.register("Issuer"), await stack.register("Holder")
    data = {"credential": DIPLOMA, "options": {"proofType": "Ed25519Signature2020"}}
    made = await issuer.post("credential", {"invitation": {"multiUse": True}, "data": data})
    await holder.post("contact", {"invitationUrl": made["invitationUrl"]})
    offered = await only(stack, holder, "offer-received")
    await issuer.call("DELETE", f"invitation/{made['uuid']}")
    await holder.post(f"exchange/{offered['uuid']}/accept", {}, 200)
    asked = await only(stack, issuer, "request-received")
    assert (asked["status"], set(asked["messages"])) == ("WAITING", {"request"})
    assert (await issuer.get("credential"))["hits"] == []


async def test_what_came_inside_an_invitation_moves_no_exchange_that_there_is(foreign: Foreign) -> None:
    """Who made the invitation proved to have its key, not to have written what is in it."""
    client, services = foreign.client, foreign.stack.app.services
    [_] = await comes(foreign, said(f"{ISSUE}/offer-credential", "T", "1", {"a": 1}))
    records = (await client.tenant()).records
    reports = [
        said(f"{ISSUE}/offer-credential", "T", "2", {"a": 2}),
        said(f"{ISSUE}/problem-report", "T", "3", description={"code": "no"}),
        {"@type": "https://didcomm.org/notification/1.0/ack", "@id": "4", "~thread": {"thid": "T"}, "status": "FAIL"},
    ]
    for message in reports:
        attached = AttachedMessage(uuid=f"{foreign.connection.uuid}.{services.uuid7()}", parent_id="p")
        attached.body = records.seal(orjson.dumps(message), attached.key)
        unit = Unit()
        unit.create(attached)
        await records.commit(unit)
        given = {"id": services.uuid7(), "p": client.uuid, "o": "connection", "u": foreign.connection.uuid}
        await foreign.stack.app.exchange.handle(orjson.dumps({"items": [{**given, "r": attached.uuid}]}), 1)
        stored = await client.get(f"message/{given['id']}")
        assert (stored["status"], stored["error"]) == ("RECEIVED", "sender-unproven")
    [exchange] = (await client.get("exchange"))["hits"]
    assert (exchange["state"], exchange["status"]) == ("offer-received", "WAITING")


async def test_an_id_that_was_used_before_moves_nothing(foreign: Foreign) -> None:
    tasks = await foreign.client.webhook("nothing")
    await foreign.client.post("settings/TASK_WEBHOOK", {"setting": [{"url": tasks.url + "/task", "match": ".*"}]}, 200)
    [first] = await comes(foreign, said(f"{PROVE}/request-presentation", "T", "1", {"a": 1}))
    [other] = await comes(foreign, said(f"{PROVE}/request-presentation", "T", "1", {"a": 2}))
    assert (other["status"], other["error"]) == ("CONFLICT", "message-id-reused")
    [exchange] = (await foreign.client.get("exchange"))["hits"]
    assert exchange["messages"] == {"request": first["uuid"]}
    assert len((await foreign.client.get("delivery"))["hits"]) == 1


async def test_two_protocols_on_one_thread(foreign: Foreign) -> None:
    """The second is kept like any message, and is not tried again and again."""
    await comes(foreign, said(f"{ISSUE}/offer-credential", "T", "1", {"a": 1}))
    for number, name in enumerate(("request-presentation", "presentation", "ack", "problem-report")):
        [stored] = await comes(foreign, said(f"{PROVE}/{name}", "T", f"p{number}", {"a": 1} if number < 2 else None))
        assert (stored["status"], stored["error"]) == ("RECEIVED", "out-of-turn")
    [exchange] = (await foreign.client.get("exchange"))["hits"]
    assert (exchange["state"], exchange["protocol"]) == ("offer-received", ISSUE)


async def test_two_protocols_of_our_own_on_one_thread(foreign: Foreign) -> None:
    client, contact = foreign.client, foreign.connection.contact_uuid
    action = await client.act(contact, said(f"{ISSUE}/offer-credential", "T", "1", {"a": 1}), referenceID="T")
    for number, name in enumerate(("presentation", "request-presentation", "propose-presentation")):
        message = said(f"{PROVE}/{name}", "T", f"p{number}", {"a": 1})
        await client.post(f"action/{action['uuid']}", {"data": {"message": message}}, 200)
    assert (await client.get(f"exchange/{action['uuid']}"))["state"] == "offer-sent"


async def test_another_contacts_thread(stack: Stack, foreign: Foreign) -> None:
    client = foreign.client
    other = await connect_foreign(stack, client)
    begun = await client.post("credential", offer("ld-proof/Ed25519Signature2020", foreign.connection.contact_uuid))
    value = await requesting(client, begun)
    request = said(f"{ISSUE}/request-credential", begun["thid"], "1", value, DETAIL)
    await comes(other, request)
    await comes(other, said(f"{ISSUE}/problem-report", begun["thid"], "2", description={"code": "no"}))
    assert (await client.get(f"exchange/{begun['uuid']}"))["state"] == "offer-sent"
    assert (await client.get("credential"))["hits"] == []


@pytest.mark.parametrize("where", ["together", "one after the other"])
async def test_one_offer_is_one_credential(foreign: Foreign, where: str) -> None:
    client = foreign.client
    begun = await client.post("credential", offer("ld-proof/Ed25519Signature2020", foreign.connection.contact_uuid))
    value = await requesting(client, begun)
    requests = [said(f"{ISSUE}/request-credential", begun["thid"], str(number), value, DETAIL) for number in range(3)]
    if where == "together":
        stored = await comes(foreign, *requests)
    else:
        stored = [(await comes(foreign, request))[0] for request in requests]
    assert sorted(one["error"] or "" for one in stored) == ["", "out-of-turn", "out-of-turn"]
    assert len((await client.get("credential"))["hits"]) == 1
    types = [hit["type"] for hit in (await client.get("message?direction=OUT"))["hits"]]
    assert types.count(f"{ISSUE}/issue-credential") == 1


async def test_something_else_than_what_was_offered_is_not_issued(foreign: Foreign) -> None:
    client = foreign.client
    begun = await client.post("credential", offer("ld-proof/Ed25519Signature2020", foreign.connection.contact_uuid))
    value = await requesting(client, begun)
    value["credential"]["credentialSubject"]["familyName"] = "MALLORY"
    await comes(foreign, said(f"{ISSUE}/request-credential", begun["thid"], "1", value, DETAIL))
    ended = await client.get(f"exchange/{begun['uuid']}")
    assert ended["state"] == "abandoned"
    assert (await client.get("credential"))["hits"] == []


async def test_an_offer_that_has_expired_is_the_tenants_to_decide(foreign: Foreign) -> None:
    client = foreign.client
    begun = await client.post("credential", offer("ld-proof/Ed25519Signature2020", foreign.connection.contact_uuid))
    value = await requesting(client, begun)
    timing = {"~timing": {"expires_time": "2020-01-01T00:00:00Z"}}
    again = said(f"{ISSUE}/offer-credential", "E", "E", value, DETAIL, **timing)
    action = await client.act(foreign.connection.contact_uuid, again, referenceID="E")
    await comes(foreign, said(f"{ISSUE}/request-credential", "E", "1", value, DETAIL))
    exchange = await client.get(f"exchange/{action['uuid']}")
    assert (exchange["state"], exchange["status"]) == ("request-received", "WAITING")
    assert "expired" in exchange["error"]


async def test_a_warning_ends_nothing_and_a_report_on_a_message_does(stack: Stack) -> None:
    tenant = await stack.register("Tenant")
    agent = await connect_foreign(stack, tenant, "v2")
    begun = await tenant.post("credential", offer("jwt-vc", agent.connection.contact_uuid))
    sent = (await tenant.get(f"message/{begun['messages']['offer']}"))["message"]["id"]
    report = "https://didcomm.org/report-problem/2.0/problem-report"
    for number, (code, state) in enumerate((("w.m.slow", "offer-sent"), ("e.p.no", "abandoned"))):
        packed = agent.v2({"id": str(number), "type": report, "pthid": sent, "body": {"code": code}})
        given = {"id": stack.app.services.uuid7(), "p": tenant.uuid, "o": "connection", "u": agent.connection.uuid}
        await stack.app.inbound.handle(orjson.dumps({"items": [{**given, "e": packed.decode()}]}), 1)
        assert (await tenant.get(f"exchange/{begun['uuid']}"))["state"] == state


async def test_a_report_that_names_our_message_ends_its_exchange(foreign: Foreign) -> None:
    client = foreign.client
    await comes(foreign, said(f"{ISSUE}/propose-credential", "T", "1", {"a": 1}))
    [proposed] = (await client.get("exchange"))["hits"]
    await client.post(f"exchange/{proposed['uuid']}/accept", {"data": {"attachment": {"b": 1}}}, 200)
    ours = (await client.get(f"exchange/{proposed['uuid']}"))["messages"]["offer"]
    sent = (await client.get(f"message/{ours}"))["message"]["@id"]
    report = {
        "@type": "https://didcomm.org/report-problem/1.0/problem-report",
        "@id": "2",
        "~thread": {"pthid": sent},
        "description": {"code": "unreadable"},
    }
    await comes(foreign, report)
    ended = await client.get(f"exchange/{proposed['uuid']}")
    assert (ended["state"], ended["error"]) == ("abandoned", "unreadable")


@pytest.mark.parametrize("context", [[{}], [[]], {"a": 1}, [{"@vocab": "https://example.org/"}]])
async def test_contexts_that_are_no_texts(foreign: Foreign, context: Any) -> None:
    client, contact = foreign.client, foreign.connection.contact_uuid
    data = {"credential": {**DIPLOMA, "@context": context}, "options": {"proofType": "Ed25519Signature2020"}}
    for command in ("offer", "propose", "request"):
        answer = await client.call("POST", "credential", {"command": command, "to": contact, "data": data})
        assert answer.status == 400, answer.body
    begun = await client.post("credential", offer("ld-proof/Ed25519Signature2020", contact))
    value = await requesting(client, begun)
    value["credential"]["@context"] = context
    [stored] = await comes(foreign, said(f"{ISSUE}/request-credential", begun["thid"], "1", value, DETAIL))
    assert stored["status"] == "RECEIVED"
    assert (await client.get(f"exchange/{begun['uuid']}"))["state"] == "abandoned"
    assert (await client.get("credential"))["hits"] == []


@pytest.mark.parametrize("data", [1, 1.5, True, "x", [1], [[]]])
async def test_choices_that_are_no_objects(foreign: Foreign, data: Any) -> None:
    client = foreign.client
    definition = {"presentation_definition": {"id": "1", "input_descriptors": [{"id": "a", "constraints": {}}]}}
    request = said(f"{PROVE}/request-presentation", "T", "1", definition, "dif/presentation-exchange/definitions@v1.0")
    await comes(foreign, request)
    [exchange] = (await client.get("exchange"))["hits"]
    for members in ({"data": data}, {"credentials": data}, {"credentials": {"a": data}}, {"format": "unheard-of"}):
        answer = await client.call("POST", "presentation", {"exchangeUuid": exchange["uuid"], **members})
        assert answer.status in (400, 409), (members, answer.body)


async def test_a_message_without_a_thread_begins_nothing(foreign: Foreign) -> None:
    message = said(f"{ISSUE}/offer-credential", "T", "1", {"a": 1})
    del message["@id"], message["~thread"]
    [stored] = await comes(foreign, message)
    assert (stored["status"], stored["error"]) == ("RECEIVED", "thread-missing")
    assert (await foreign.client.get("exchange"))["hits"] == []


async def test_presentations_without_end(foreign: Foreign) -> None:
    """A verifier that asked for several gets no more than it can keep."""
    client, contact = foreign.client, foreign.connection.contact_uuid
    asked = {"to": contact, "format": "plain", "data": {"attachment": {"a": 1}}, "presentMultiple": True}
    begun = await client.post("proof-request", asked)
    records = (await client.tenant()).records
    exchange = await records.get(Exchange, begun["uuid"])
    assert exchange is not None
    exchange.presentations = ["0" * 36] * 499
    unit = Unit()
    unit.merge(exchange.key, exchange.changes())
    await records.commit(unit)
    for number, state in enumerate(("request-sent", "abandoned")):
        shown = said(f"{PROVE}/presentation", begun["thid"], f"p{number}", {"b": 1}, last_presentation=False)
        [stored] = await comes(foreign, shown)
        assert stored["status"] == "RECEIVED"
        assert (await client.get(f"exchange/{begun['uuid']}"))["state"] == state


async def test_a_signer_that_hangs_holds_back_nobody_else(
    stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, contact = foreign.client, foreign.connection.contact_uuid
    neighbour = await connect_foreign(stack, await stack.register("Neighbour"))
    hook = await neighbour.client.webhook()
    asked: list[asyncio.StreamWriter] = []

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(writer)

    async with external_signer() as signer:
        await signer.serve(client)
        await bind(client, signer.did)
        requests = []
        for number in range(34):
            begun = await client.post("credential", offer("ld-proof/Ed25519Signature2020", contact))
            value = await requesting(client, begun)
            requests.append(said(f"{ISSUE}/request-credential", begun["thid"], str(number), value, DETAIL))
        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await client.post("settings/PRINCIPAL_SETTINGS", {"setting": {"externalSigningUrl": url}}, 200)
        monkeypatch.setattr(signing, "TIMEOUT", 8.0)
        for request in requests:
            await stack.app.services.storage.queues["inbound"].put(orjson.dumps({"items": [item(foreign, request)]}))

        async def hanging() -> bool:
            return bool(asked)

        await stack.eventually(hanging)
        started = time.monotonic()
        message = {"@type": "https://didcomm.org/basicmessage/1.0/message", "@id": "1", "content": "hello"}
        assert (await stack.deliver(neighbour.v1(orjson.dumps(message)))).status == 202
        await hook.until(lambda hook: True, seconds=30)
        assert time.monotonic() - started < 6
        assert len(asked) <= 8
        for writer in asked:
            writer.close()
        server.close()
