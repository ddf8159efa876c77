"""Habits of other agents that the specifications do not have, or have in another version: each is understood."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import orjson
import pytest

from tests.scenarios.common import BASIC, basic
from tests.scenarios.foreign import Foreign, connect_foreign
from tests.security.agents import Agent, new_id
from tests.security.handshakes import connected, connections, invited, requested, stored, until_state
from tests.stack import Client, Receiver, Stack
from tntcore.dids.document import Version
from tntcore.protocols.did_exchange import CONNECTIONS_1_0, DID_EXCHANGE_1_1

OLD = "did:sov:BzCbsNYhMrjHiqZDTUASHg;spec"
OLD_CONNECTIONS = f"{OLD}/connections/1.0"


@pytest.fixture(scope="module")
async def receiver(stack: Stack) -> Any:
    running = Receiver()
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def tenant(stack: Stack) -> Client:
    return await stack.register("Host")


@pytest.fixture
def agent(stack: Stack, receiver: Receiver) -> Agent:
    return Agent(stack, receiver)


async def foreign_of(stack: Stack, tenant: Client, version: Version = "v1") -> Foreign:
    await tenant.webhook()
    return await connect_foreign(stack, tenant, version)


async def relayed(foreign: Foreign, packed: bytes) -> dict[str, Any]:
    """The webhook's body for the message."""
    assert (await foreign.stack.deliver(packed)).status == 202
    [receiver] = foreign.client.receivers
    return dict((await receiver.until(lambda hook: True)).json())


# Handshakes.


async def test_documents_under_the_names_of_the_later_rfc_0160(tenant: Client, agent: Agent) -> None:
    _, pthid, key = await invited(tenant)
    request = agent.request(CONNECTIONS_1_0, pthid)
    request["connection"] = {"did": agent.sov, "did_doc": agent.legacy()}
    await agent.send(request, key)
    await agent.hears("/response")
    uuid, sent, ours = await requested(tenant, agent, CONNECTIONS_1_0)
    assert sent["connection"].keys() == {"DID", "DIDDoc"}
    response = agent.response(CONNECTIONS_1_0, sent["@id"], agent.keys.ed25519)
    await agent.send(response, ours)
    await until_state(tenant, uuid, "completed")


async def test_the_old_prefix_in_a_whole_handshake(tenant: Client, agent: Agent) -> None:
    invitation = agent.invitation(OLD_CONNECTIONS)
    invitation["@type"] = f"{OLD}/out-of-band/1.0/invitation"
    made = await tenant.post("contact", {"invitation": invitation})
    request, ours = await agent.hears("/request")
    await agent.send(agent.response(OLD_CONNECTIONS, request["@id"], agent.keys.ed25519) | _connection(agent), ours)
    await until_state(tenant, made["connectionUuid"], "completed")
    ping = {"@type": f"{OLD}/trust_ping/1.0/ping", "@id": new_id()}
    await agent.send(ping, ours)
    answer, _ = await agent.hears("/ping_response")
    assert answer["@type"] == f"{OLD}/trust_ping/1.0/ping_response"


def _connection(agent: Agent) -> dict[str, Any]:
    """The signed document, which a response has by its protocol."""
    signed = agent.response(CONNECTIONS_1_0, "", agent.keys.ed25519)
    return {"connection~sig": signed["connection~sig"], "did": None, "did_rotate~attach": None}


async def test_null_for_everything_that_is_not_said(tenant: Client, agent: Agent) -> None:
    """As serialisers of .NET and Go write it, in invitations, requests and messages."""
    nothing = dict.fromkeys(("~timing", "~attach", "requests~attach", "accept", "goal_code", "imageUrl", "~l10n"))
    invitation = {**agent.invitation(DID_EXCHANGE_1_1), **nothing}
    made = await tenant.post("contact", {"invitation": invitation})
    await agent.hears("/request")
    assert made["displayName"] == "Agent"
    mine, ours = await connected(tenant, agent.another())
    _, pthid, key = await invited(tenant)
    request = {**agent.request(DID_EXCHANGE_1_1, pthid), **nothing, "did_doc~attach": None, "goal": None}
    request["~thread"] |= {"sender_order": 0, "received_orders": {}, "goal_code": None}
    await agent.send(request, key)
    await agent.hears("/response")
    assert len(await connections(tenant)) == 3
    assert (mine["state"], bool(ours)) == ("completed", True)


@pytest.mark.parametrize(
    "thread", [None, {}, {"thid": None, "pthid": None}, {"thid": "", "received_orders": None}, [], "x"]
)
async def test_threads_that_name_none(stack: Stack, tenant: Client, thread: Any) -> None:
    foreign = await foreign_of(stack, tenant)
    message = basic("hello", **{"@id": "one", "~thread": thread})
    body = await relayed(foreign, foreign.v1(orjson.dumps(message)))
    assert body["message"]["~thread"] == thread
    shown = await tenant.get(f"action/{body['actionUuid']}")
    assert shown["referenceID"] == "one"


# Decorators, which are passed on and change nothing.


async def test_decorators_are_relayed_and_do_no_harm(stack: Stack, tenant: Client) -> None:
    foreign = await foreign_of(stack, tenant)
    decorators = {
        "~timing": {"expires_time": "2001-01-01T00:00:00Z", "in_time": "soon", "delay_milli": -1},
        "~transport": {"return_route": "all", "return_route_thread": None},
        "~l10n": {"locale": "de", "localizable": ["content"]},
        "content~l10n": {"en": "hello"},
        "~please_ack": {"on": ["OUTCOME"]},
        "~trace": {"target": "log", "full_thread": True},
        "~service": {"recipientKeys": ["no key"], "routingKeys": None, "serviceEndpoint": 7},
    }
    message = basic("hallo", **{"@id": "one", **decorators})
    body = await relayed(foreign, foreign.v1(orjson.dumps(message)))
    assert body["authenticated"]
    assert {name: body["message"][name] for name in decorators} == decorators
    ping = {"@type": "https://didcomm.org/trust_ping/1.0/ping", "@id": "two", **decorators}
    assert (await stack.deliver(foreign.v1(orjson.dumps(ping)))).status == 202
    record = await stored(tenant, "two")
    assert (record.status, record.error) == ("RECEIVED", "")


# Attachments.

TEXT = orjson.dumps({"grade": "A"})
UNPADDED = base64.urlsafe_b64encode(TEXT).decode().rstrip("=")


@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize(
    ("data", "value"),
    [
        ({"json": {"grade": "A"}}, {"grade": "A"}),
        ({"json": TEXT.decode()}, TEXT.decode()),
        ({"base64": base64.b64encode(TEXT).decode()}, {"grade": "A"}),
        ({"base64": UNPADDED, "sha256": hashlib.sha256(TEXT).hexdigest()}, {"grade": "A"}),
        ({"base64": "AAE="}, {"base64": "AAE="}),
        ({"links": ["https://a.example/x"], "sha256": "00" * 32}, {"links": ["https://a.example/x"]}),
        ({"links": ["https://a.example/x"], "hash": "zQm"}, {"links": ["https://a.example/x"]}),
        ({"grade": "A"}, {"grade": "A"}),
    ],
)
async def test_attachments_of_all_kinds_in_both_versions(
    stack: Stack, tenant: Client, data: dict[str, Any], value: Any, several: bool
) -> None:
    hook = await tenant.webhook()
    one, two = await connect_foreign(stack, tenant), await connect_foreign(stack, tenant, "v2")
    attached = {"@id": "a", "mime-type": "application/json", "byte_count": 13, "lastmod_time": "x", "data": data}
    first = {"@type": "https://a.example/r/1.0/r", "@id": "one", "files~attach": [attached] if several else attached}
    attached = {"id": "a", "media_type": "application/json", "data": data}
    second = {"type": "https://a.example/r/2.0/r", "id": "two", "attachments": [attached] if several else attached}
    for packed in (one.v1(orjson.dumps(first)), two.v2(second)):
        assert (await stack.deliver(packed)).status == 202
    await hook.count(2)
    for body in (got.json() for got in hook.got):
        [uuid] = body["assetDataUuids"]
        asset = await tenant.get(f"asset-data/{uuid}")
        assert (asset["mimeType"], asset["value"]) == ("application/json", value)


# DIDComm v2.


@pytest.mark.parametrize(
    "members",
    [
        {"created_time": "2026-01-31T12:00:00Z", "expires_time": None},
        {"created_time": 1769860800.5, "expires_time": "never"},
        {"body": None},
        {"body": "text"},
        {"typ": None, "thid": None, "pthid": None},
        {"attachments": None, "return_route": "all", "please_ack": [""]},
        {"lang": "de", "accept-lang": ["de", "en"], "l10n": {"inline": []}},
    ],
)
async def test_members_of_v2_in_other_forms(stack: Stack, tenant: Client, members: dict[str, Any]) -> None:
    foreign = await foreign_of(stack, tenant, "v2")
    body = await relayed(foreign, foreign.v2({"id": "one", "type": BASIC, **members}))
    assert (body["authenticated"], body["contactUuid"]) == (True, foreign.connection.contact_uuid)
    assert {name: body["message"].get(name) for name in members} == members


@pytest.mark.parametrize(
    ("type_", "members", "reason"),
    [
        (f"{OLD}/notification/1.0/problem-report", {"explain-ltxt": "no", "description": {"code": "x"}}, "x"),
        ("https://didcomm.org/report-problem/1.0/problem-report", {"description": "all went wrong"}, "all went wrong"),
        ("https://didcomm.org/basicmessage/1.0/problem_report", {"problem-code": "x", "explain": "y"}, "x"),
        ("https://didcomm.org/notification/1.0/problem-report", {"description": {"en": "y", "code": "x"}}, "x"),
    ],
)
@pytest.mark.parametrize("by", ["thid", "pthid"])
async def test_a_problem_report_in_every_spelling_is_the_actions_error(
    stack: Stack, tenant: Client, type_: str, members: dict[str, Any], reason: str, by: str
) -> None:
    foreign = await foreign_of(stack, tenant)
    action = await tenant.act(foreign.connection.contact_uuid, basic("hello"))
    report = {"@type": type_, "@id": "one", "~thread": {by: action["referenceID"]}, **members}
    assert (await stack.deliver(foreign.v1(orjson.dumps(report)))).status == 202

    async def failed() -> dict[str, Any] | None:
        shown: dict[str, Any] = await tenant.get(f"action/{action['uuid']}")
        return shown if shown["status"] == "ERROR" else None

    shown = await stack.eventually(failed)
    assert reason in orjson.dumps(shown["config"]["error"]).decode()
