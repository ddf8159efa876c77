"""Every message of a handshake, and every word of the tenant's, in every state."""

from __future__ import annotations

import asyncio
from typing import get_args

import pytest

from tests.security.agents import Agent, Json, new_id
from tests.security.handshakes import (
    DIALECT,
    PING,
    all_of,
    complete,
    connections,
    invited,
    placed,
    refused,
    report,
    state_of,
    stored,
)
from tests.stack import Client, Receiver, Stack
from tests.unit.protocols.test_did_exchange import CELLS
from tntcore.protocols.did_exchange import CONNECTIONS_1_0, Role, State
from tntcore.storage.records import Connection, Message

KINDS = ("request", "response", "complete", "ping", "report", "last report")


def played(agent: Agent, kind: str, protocol: str, connection: Connection) -> Json:
    """A message of that kind as the honest other side of the connection would send it."""
    if kind == "request":
        message = agent.request(protocol, connection.pthid)
        return {**message, "~thread": {"thid": connection.thid, "pthid": connection.pthid}}
    if kind == "response":
        return agent.response(protocol, connection.thid, agent.keys.ed25519)
    if kind == "ping" or (kind == "complete" and protocol == CONNECTIONS_1_0):
        return {"@type": PING, "@id": new_id(), "response_requested": False}
    if kind == "complete":
        return complete(protocol, {"@id": connection.thid, "~thread": {"pthid": connection.pthid}})
    return report(protocol, connection.thid, "response_not_accepted" if kind == "report" else "no-longer-wanted")


def expected(role: str, state: str, kind: str, protocol: str) -> tuple[bool, str]:
    """Whether the message is let in, and the state that the connection is in afterwards, after the RFC's table."""
    if kind == "ping" or (kind == "complete" and protocol == CONNECTIONS_1_0):
        # No message of the exchange, but in connections/1.0 the first message ends it.
        ends = protocol == CONNECTIONS_1_0 and (role, state) == ("responder", "response-sent")
        return state != "abandoned", "completed" if ends else state
    event = "problem-report" if kind.endswith("report") else kind
    outcomes = CELLS.get((role, state, f"receive {event}"), [])
    if not outcomes:
        return False, state
    # Who asked and is refused is asked what follows, whatever the code of the report.
    last = kind == "last report" or (role, state, kind) == ("requester", "request-sent", "report")
    follows = outcomes[-1 if last else 0]
    # It is answered at once.
    return True, CELLS[role, follows, "send complete"][0] if follows == "response-received" else follows


@DIALECT
@pytest.mark.parametrize("role", get_args(Role))
async def test_every_message_in_every_state(
    stack: Stack, tenant: Client, agent: Agent, role: str, protocol: str
) -> None:
    hook = await tenant.webhook()
    cases = [
        (state, kind)
        for state in get_args(State)
        for kind in KINDS
        # What is invited by an invitation that nobody answered is no connection yet: see below.
        if (role, state, kind) != ("responder", "invitation-sent", "request")
    ]
    sides = await asyncio.gather(*(placed(stack, tenant, agent, role, state, protocol) for state, _ in cases))
    messages = [
        played(agent, kind, protocol, connection) for (_, kind), (connection, _) in zip(cases, sides, strict=True)
    ]
    await asyncio.gather(
        *(agent.send(message, ours.verkey) for message, (_, ours) in zip(messages, sides, strict=True))
    )

    async def arrived() -> bool:
        found = {message.message_id for message in await all_of(tenant, Message)}
        return found >= {message["@id"] for message in messages}

    await stack.eventually(arrived, 20)
    records = {message.message_id: message for message in await all_of(tenant, Message)}
    states = {connection.uuid: connection.state for connection in await all_of(tenant, Connection)}
    outcomes, wanted = {}, {}
    for case, message, (connection, _) in zip(cases, messages, sides, strict=True):
        let_in, follows = expected(role, *case, protocol)
        wanted[case] = ("RECEIVED" if let_in else "REJECTED", follows)
        outcomes[case] = (records[message["@id"]].status, states[connection.uuid])
        assert bool(records[message["@id"]].error) is not let_in, case
    assert outcomes == wanted
    # A response is answered, and nothing else: one to a request that was given up, that it is refused.
    answered = [case[0] for case in cases if case[1] == "response" and case[0] in ("request-sent", "abandoned")]
    await asyncio.sleep(0.3)
    assert len(agent.heard()) == (len(answered) if role == "requester" else 0)
    reports = [message for message, _ in agent.heard("/problem_report")]
    assert [one["problem-code"] for one in reports] == ["response_not_accepted"] * (role == "requester")
    relayed = {got.json()["message"]["@id"] for got in hook.got}
    assert relayed == {
        message["@id"] for case, message in zip(cases, messages, strict=True) if "RECEIVED" in wanted[case]
    }


@DIALECT
@pytest.mark.parametrize("auto", [True, False])
async def test_every_message_to_an_invitation(tenant: Client, agent: Agent, protocol: str, auto: bool) -> None:
    """That is the state `invitation-sent`. Who could send a problem report is anyone: the tenant is told, and nothing
    is given up. Of the table's outcomes that is the first, from which the tenant may invite again."""
    assert CELLS["responder", "invitation-sent", "receive problem-report"] == ["start", "abandoned"]
    tasks = Receiver()
    await tasks.start()
    tenant.receivers.append(tasks)
    await tenant.post("settings/TASK_WEBHOOK", {"setting": [{"url": tasks.url, "match": "^invitation$"}]}, 200)
    await tenant.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoAcceptConnections": auto}}, 200)
    made, pthid, key = await invited(tenant)
    request = agent.request(protocol, pthid)
    for message in (
        agent.response(protocol, request["@id"], agent.keys.ed25519),
        report(protocol, request["@id"]),
        *([complete(protocol, request)] if protocol != CONNECTIONS_1_0 else []),
    ):
        await refused(tenant, await agent.send(message, key), "thread-unknown")
    declined = [
        report(protocol, pthid, "no-longer-wanted"),
        {**report(protocol, new_id()), "~thread": {"pthid": pthid}},
        {**report(protocol, pthid), "@type": "https://didcomm.org/out-of-band/1.1/problem-report"},
    ]
    for message in declined:
        kept = await stored(tenant, await agent.send(message, key))
        assert (kept.status, kept.error, kept.authenticated, kept.contact_uuid) == ("RECEIVED", "", False, "")
        got = (await tasks.until(lambda hook: hook.json()["messageUuid"] == kept.uuid)).json()  # noqa: B023
        assert (got["type"], got["uuid"], got["status"]) == ("invitation", made["uuid"], "problem-reported")
    assert agent.heard() == []
    assert (await tenant.get(f"invitation/{made['uuid']}"))["status"] == "ACTIVE"
    assert await connections(tenant) == []
    await agent.send(request, key)
    assert (await stored(tenant, request["@id"])).status == "RECEIVED"
    [connection] = await connections(tenant)
    follows = CELLS["responder", "invitation-sent", "receive request"][0]
    assert connection["state"] == (CELLS["responder", follows, "send response"][0] if auto else follows)
    assert (await tenant.get(f"invitation/{made['uuid']}"))["status"] == "USED"


@DIALECT
@pytest.mark.parametrize("role", get_args(Role))
async def test_every_word_of_the_tenants_in_every_state(
    stack: Stack, tenant: Client, agent: Agent, role: str, protocol: str
) -> None:
    """`accept` sends what the role sends next; `reject` is the end, wherever there is something to end."""
    event = "send response" if role == "responder" else "send request"
    for state in get_args(State):
        connection, _ = await placed(stack, tenant, agent, role, state, protocol)
        outcomes = CELLS.get((role, state, event), [])
        answer = await tenant.call("POST", f"connection/{connection.uuid}/accept", {})
        assert answer.status == (200 if outcomes else 409), (state, answer.body)
        assert await state_of(tenant, connection.uuid) == (outcomes[0] if outcomes else state)

        connection, _ = await placed(stack, tenant, agent, role, state, protocol)
        over = state in ("start", "completed", "abandoned")
        answer = await tenant.call("POST", f"connection/{connection.uuid}/reject", {})
        assert answer.status == (409 if over else 200), (state, answer.body)
        assert await state_of(tenant, connection.uuid) == (state if over else "abandoned")
        told = CELLS.get((role, state, "send problem-report"), [])
        assert over or not told or "abandoned" in told

        if state != "completed":
            for call in ("rotate", "hangup"):
                assert (await tenant.call("POST", f"connection/{connection.uuid}/{call}", {})).status == 409
