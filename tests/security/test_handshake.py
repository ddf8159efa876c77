"""Every message of a handshake in every state, and what attackers do with each: packed by hand, sent from outside."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import orjson
import pytest

from tests.scenarios.common import assert_problem, basic
from tests.security.agents import DIALECTS, Agent, Json, new_id, verkey_of
from tests.stack import Client, Receiver, Stack
from tests.unit.protocols.test_did_exchange import CELLS
from tntcore.connections import pairwise, start
from tntcore.dids import peer
from tntcore.dids.multiformats import encode_base58
from tntcore.dids.parse import parse_document
from tntcore.dids.web import identity_document
from tntcore.envelope.keys import verkey_to_did_key
from tntcore.envelope.signatures import sign_field
from tntcore.handshake import kept
from tntcore.protocols.did_exchange import CONNECTIONS_1_0, DID_EXCHANGE_1_0, DID_EXCHANGE_1_1, Role, State
from tntcore.records import Connection, Contact, Identity, Message
from tntcore.storage.commit import Unit
from tntcore.storage.lookups import Found
from tntcore.tenants import KeyPairs, verkeys

PING = "https://didcomm.org/trust_ping/1.0/ping"
ROTATE = "https://didcomm.org/did-rotate/1.0/"
DIALECT = pytest.mark.parametrize("protocol", DIALECTS, ids=["didexchange-1.1", "didexchange-1.0", "connections-1.0"])


@pytest.fixture(scope="module")
async def receiver() -> AsyncIterator[Receiver]:
    """Where all agents of this module are sent to: each opens what is for its own key."""
    running = Receiver()
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def tenant(stack: Stack) -> Client:
    return await stack.register("Attacked")


@pytest.fixture
def agent(stack: Stack, receiver: Receiver) -> Agent:
    return Agent(stack, receiver)


@pytest.fixture
def mallory(agent: Agent) -> Agent:
    return agent.another()


async def all_of(client: Client, kind: type[Any]) -> list[Any]:
    found: list[Any] = []
    records, token = (await client.tenant()).records, ""
    while True:
        page = await records.list(kind, limit=200, start=token)
        found += page.records
        if page.next is None:
            return found
        token = page.next


async def stored(client: Client, message_id: str) -> Message:
    """The record of the message that came in with this `@id`."""
    records = (await client.tenant()).records

    async def check() -> Message | None:
        found = await records.list(Message, limit=1, where="messageId eq @id", parameters={"id": message_id})
        return found.records[0] if found.records else None

    try:
        return await client.stack.eventually(check)  # type: ignore[no-any-return]
    except TimeoutError:
        raise AssertionError([(one.type, one.status, one.error) for one in await all_of(client, Message)]) from None


async def refused(client: Client, message_id: str, code: str) -> None:
    """That the message is on record as refused for this reason, and as nobody's."""
    record = await stored(client, message_id)
    assert (record.status, record.error) == ("REJECTED", code)
    assert not record.authenticated
    assert not record.contact_uuid


async def state_of(client: Client, connection: str) -> str:
    return str((await client.get(f"connection/{connection}"))["state"])


async def until_state(client: Client, connection: str, state: str) -> Json:
    async def check() -> Json | None:
        found: Json = await client.get(f"connection/{connection}")
        return found if found["state"] == state else None

    try:
        return await client.stack.eventually(check)  # type: ignore[no-any-return]
    except TimeoutError:
        raise AssertionError(await client.get(f"connection/{connection}")) from None


async def connections(client: Client) -> list[Json]:
    hits: list[Json] = (await client.get("connection?limit=200"))["hits"]
    return hits


async def invited(client: Client, **wanted: Any) -> tuple[Json, str, str]:
    """A new invitation of the tenant's: as it was answered, its `@id`, and its key."""
    made = await client.post("invitation", wanted)
    return made, made["invitation"]["@id"], verkey_of(made["invitation"])


async def requested(client: Client, agent: Agent, protocol: str, **members: Any) -> tuple[str, Json, str]:
    """The tenant takes an invitation of the agent's: its connection, the request that the agent got, and our key."""
    made = await client.post("contact", {"invitation": agent.invitation(protocol, **members)})
    request, ours = await agent.hears("/request")
    return made["connectionUuid"], request, ours


async def connected(client: Client, agent: Agent, protocol: str = DID_EXCHANGE_1_1) -> tuple[Json, str]:
    """A completed connection with the agent, which was invited: the tenant's side, and our key."""
    _, pthid, key = await invited(client)
    request = agent.request(protocol, pthid)
    before = {connection["uuid"] for connection in await connections(client)}
    await agent.send(request, key)
    _, ours = await agent.hears("/response")
    [uuid] = {connection["uuid"] for connection in await connections(client)} - before
    await agent.send(complete(protocol, request), ours)
    return await until_state(client, uuid, "completed"), ours


def complete(protocol: str, request: Json) -> Json:
    thread = {"thid": request["@id"], "pthid": request["~thread"]["pthid"]}
    if protocol == CONNECTIONS_1_0:
        return {"@type": PING, "@id": new_id(), "response_requested": False}
    return {"@type": f"{protocol}/complete", "@id": new_id(), "~thread": thread}


def report(protocol: str, thid: str, code: str = "request_not_accepted") -> Json:
    return {
        "@type": f"{protocol}/problem_report",
        "@id": new_id(),
        "~thread": {"thid": thid},
        "problem-code": code,
        "explain": "No.",
    }


# Every message in every state.

KINDS = ("request", "response", "complete", "ping", "report", "last report")


async def placed(
    stack: Stack, client: Client, agent: Agent, role: str, state: str, protocol: str, *, thid: str = ""
) -> tuple[Connection, KeyPairs]:
    """A connection with the agent that is in this state, whatever would have led there; and our keys for it."""
    services, owner = stack.app.services, await client.tenant()
    identity = await owner.records.get(Identity, client.identity["uuid"])
    assert identity is not None
    now, theirs = services.now(), agent.document(protocol)
    contact = Contact(uuid=services.uuid7(), status="REQUESTED", did=theirs.id, created_at=now, updated_at=now)
    connection = start(identity, contact, now)
    ours = KeyPairs.generate()
    mine = pairwise(services, ours)
    connection.role, connection.state, connection.protocol = role, state, protocol
    connection.thid, connection.pthid = thid or new_id(), new_id()
    connection.my_did, connection.my_document = mine.id, dict(mine.raw)
    connection.keys = owner.records.seal(ours.serialise(), connection.key)
    connection.their_did, connection.their_document = theirs.id, kept(theirs)
    await services.lookups.add("key", ours.verkey, Found(client.uuid, "connection", connection.uuid))
    unit = Unit()
    unit.create(contact.key, contact.values())
    unit.create(connection.key, connection.values())
    await owner.records.commit(unit)
    return connection, ours


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
    follows = outcomes[-1 if kind == "last report" else 0]
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
    # A response is answered, and nothing else.
    answered = sum(wanted[case] == ("RECEIVED", "completed") and case[1] == "response" for case in cases)
    assert answered == (role == "requester")
    await asyncio.sleep(0.3)
    assert len(agent.heard()) == answered
    relayed = {got.json()["message"]["@id"] for got in hook.got}
    assert relayed == {
        message["@id"] for case, message in zip(cases, messages, strict=True) if "RECEIVED" in wanted[case]
    }


@DIALECT
@pytest.mark.parametrize("auto", [True, False])
async def test_every_message_to_an_invitation(tenant: Client, agent: Agent, protocol: str, auto: bool) -> None:
    """That is the state `invitation-sent`. Who could send a problem report is anyone: it gives nothing up."""
    await tenant.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoAcceptConnections": auto}}, 200)
    made, pthid, key = await invited(tenant)
    request = agent.request(protocol, pthid)
    for message in (
        agent.response(protocol, request["@id"], agent.keys.ed25519),
        report(protocol, request["@id"]),
        report(protocol, pthid, "no-longer-wanted"),
        *([complete(protocol, request)] if protocol != CONNECTIONS_1_0 else []),
    ):
        await refused(tenant, await agent.send(message, key), "thread-unknown")
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


# Responses that the inviter did not make.


def forged_responses(agent: Agent, mallory: Agent, protocol: str, thid: str) -> dict[str, tuple[Agent, Json, str]]:
    """By what is wrong with it: who sends it, the message, and why it is refused. `agent` is the inviter."""
    unsigned = {"data": {"base64": agent.signed(agent.legacy())["data"]["base64"]}}
    bad = {
        # Mallory has the thread and both keys, from wherever.
        "signed and sent by another": (
            mallory,
            mallory.response(protocol, thid, mallory.keys.ed25519),
            "response-not-accepted",
        ),
        "another's key, under the inviter's envelope": (
            agent,
            mallory.response(protocol, thid, mallory.keys.ed25519),
            "response-not-accepted",
        ),
        "the inviter's signature, another's envelope": (
            mallory,
            agent.response(protocol, thid, agent.keys.ed25519),
            "response-not-accepted",
        ),
    }
    if protocol == DID_EXCHANGE_1_1:
        by_inviter = agent.signed(agent.peer_2)
        bad |= {
            "a signature over another DID": (
                mallory,
                mallory.response(protocol, thid, agent.keys.ed25519, did_rotate__attach=by_inviter),
                "response-not-accepted",
            ),
            "a signature over a document, for a DID": (
                mallory,
                mallory.response(protocol, thid, mallory.keys.ed25519, did_rotate__attach=agent.signed(agent.legacy())),
                "response-not-accepted",
            ),
            "no signature and another's envelope": (
                mallory,
                mallory.response(protocol, thid, mallory.keys.ed25519, did_rotate__attach=None),
                "response-not-accepted",
            ),
            "a signature that was altered": (agent, _altered(agent, protocol, thid), "bad-signature"),
            "a signed DID, and a document by another": (
                mallory,
                mallory.response(
                    protocol,
                    thid,
                    agent.keys.ed25519,
                    did=mallory.sov,
                    did_rotate__attach=agent.signed(mallory.sov),
                    did_doc__attach=mallory.signed(mallory.legacy()),
                ),
                "response-not-accepted",
            ),
            "no did": (agent, agent.response(protocol, thid, agent.keys.ed25519, did=None), "response-not-accepted"),
        }
    elif protocol == DID_EXCHANGE_1_0:
        bad |= {
            "a signature over the document of another DID": (
                agent,
                agent.response(protocol, thid, agent.keys.ed25519, did=mallory.sov),
                "document-mismatch",
            ),
            "no document": (
                agent,
                agent.response(protocol, thid, agent.keys.ed25519, did_doc__attach=None),
                "message-malformed",
            ),
            "a document without signature": (
                agent,
                agent.response(protocol, thid, agent.keys.ed25519, did_doc__attach=unsigned),
                "malformed",
            ),
            "signed by two others": (mallory, _twice_signed(agent, mallory, protocol, thid), "response-not-accepted"),
            "a signature that was altered": (agent, _altered(agent, protocol, thid), "bad-signature"),
            # As in a request, where it is right.
            "signed by a key of the document": (
                agent,
                mallory.response(protocol, thid, mallory.keys.ed25519),
                "response-not-accepted",
            ),
        }
    else:
        plain = {"DID": agent.sov, "DIDDoc": agent.legacy()}
        bad |= {
            "no signature": (
                agent,
                agent.response(protocol, thid, agent.keys.ed25519, connection=plain, connection__sig=None),
                "message-malformed",
            ),
            "a signature that was altered": (agent, _altered(agent, protocol, thid), "bad-signature"),
            "a DID that is not its document's": (
                agent,
                agent.response(
                    protocol,
                    thid,
                    agent.keys.ed25519,
                    connection__sig=_field({"DID": mallory.sov, "DIDDoc": agent.legacy()}, agent),
                ),
                "document-mismatch",
            ),
        }
    return bad


def _field(value: Json, agent: Agent) -> Json:
    return sign_field(value, agent.keys.ed25519, 1_700_000_000)


def _altered(agent: Agent, protocol: str, thid: str) -> Json:
    """What is signed is another's by one letter."""
    message = agent.response(protocol, thid, agent.keys.ed25519)
    name = {DID_EXCHANGE_1_1: "did_rotate~attach", DID_EXCHANGE_1_0: "did_doc~attach"}.get(protocol, "connection~sig")
    part = message[name] if protocol == CONNECTIONS_1_0 else message[name]["data"]["jws"]
    flipped = "B" if part["signature"][10] != "B" else "C"
    part["signature"] = part["signature"][:10] + flipped + part["signature"][11:]
    return message


def _twice_signed(agent: Agent, mallory: Agent, protocol: str, thid: str) -> Json:
    message = mallory.response(protocol, thid, mallory.keys.ed25519)
    data = message["did_doc~attach"]["data"]
    other = mallory.another().signed(mallory.legacy())["data"]["jws"]
    data["jws"] = {"signatures": [data["jws"], other]}
    return message


@DIALECT
async def test_a_response_is_believed_by_the_invitations_key_alone(
    tenant: Client, agent: Agent, mallory: Agent, protocol: str
) -> None:
    uuid, request, ours = await requested(tenant, agent, protocol)
    before = await tenant.get(f"connection/{uuid}")
    for what, (by, message, code) in forged_responses(agent, mallory, protocol, request["@id"]).items():
        await by.send(message, ours)
        try:
            await refused(tenant, message["@id"], code)
        except AssertionError as error:
            raise AssertionError(what, *error.args) from error
    anonymous = agent.response(protocol, request["@id"], agent.keys.ed25519)
    await agent.send(anonymous, ours, anonymous=True)
    await refused(tenant, anonymous["@id"], "sender-unknown")
    elsewhere = agent.response(protocol, new_id(), agent.keys.ed25519)
    await agent.send(elsewhere, ours)
    await refused(tenant, elsewhere["@id"], "thread-unknown")
    after = await tenant.get(f"connection/{uuid}")
    assert {**after, "updatedAt": None} == {**before, "updatedAt": None}
    assert after["state"] == "request-sent"
    assert mallory.heard() == []

    honest = agent.response(protocol, request["@id"], agent.keys.ed25519)
    await agent.send(honest, ours)
    done = await until_state(tenant, uuid, "completed")
    assert done["theirDid"].removeprefix("did:sov:") in (agent.peer_2, agent.sov)
    await agent.hears("/ping" if protocol == CONNECTIONS_1_0 else "/complete")
    # And once is enough.
    again = agent.response(protocol, request["@id"], agent.keys.ed25519)
    await agent.send(again, ours)
    await refused(tenant, again["@id"], "out-of-turn")


async def test_the_envelope_alone_vouches_only_if_it_is_the_invitations_own(
    tenant: Client, agent: Agent, mallory: Agent
) -> None:
    """Agents that answer with a DID that can be resolved may leave the signature out."""
    uuid, request, ours = await requested(tenant, agent, DID_EXCHANGE_1_1)
    for by, code in ((mallory, "response-not-accepted"), (agent, "")):
        message = by.response(DID_EXCHANGE_1_1, request["@id"], by.keys.ed25519, did_rotate__attach=None)
        await by.send(message, ours)
        assert (await stored(tenant, str(message["@id"]))).error == code
    assert (await until_state(tenant, uuid, "completed"))["theirDid"] == agent.peer_2


@pytest.mark.parametrize(
    ("asked", "answered"), [(DID_EXCHANGE_1_1, CONNECTIONS_1_0), (CONNECTIONS_1_0, DID_EXCHANGE_1_0)]
)
async def test_a_request_is_answered_in_its_protocol(tenant: Client, agent: Agent, asked: str, answered: str) -> None:
    uuid, request, ours = await requested(tenant, agent, asked)
    for message in (
        agent.response(answered, request["@id"], agent.keys.ed25519),
        report(answered, request["@id"]),
    ):
        await agent.send(message, ours)
        await refused(tenant, message["@id"], "protocol-mismatch")
    assert await state_of(tenant, uuid) == "request-sent"


# Requests that are not the sender's to make.


@DIALECT
async def test_a_request_is_its_senders_own(tenant: Client, agent: Agent, mallory: Agent, protocol: str) -> None:
    made, pthid, key = await invited(tenant)
    forged: dict[str, tuple[Agent, Json, str]] = {
        # The document of an innocent agent, sent by another.
        "the sender is not in the document": (mallory, agent.request(protocol, pthid), "request-not-accepted"),
        "another invitation": (agent, agent.request(protocol, new_id()), "invitation-unknown"),
    }
    if protocol == DID_EXCHANGE_1_0:
        forged |= {
            "signed by a key not in the document": (
                agent,
                agent.request(protocol, pthid, did_doc__attach=mallory.signed(agent.legacy())),
                "request-not-accepted",
            ),
            "the document of another DID": (
                mallory,
                mallory.request(protocol, pthid, did=agent.sov),
                "document-mismatch",
            ),
            "a document that names the DID, with another's keys": (
                mallory,
                mallory.request(protocol, pthid, did=agent.sov, did_doc__attach=agent.signed(agent.legacy())),
                "request-not-accepted",
            ),
            "no document": (agent, agent.request(protocol, pthid, did_doc__attach=None), "message-malformed"),
            "not signed": (
                agent,
                agent.request(
                    protocol,
                    pthid,
                    did_doc__attach={"data": {"base64": agent.signed(agent.legacy())["data"]["base64"]}},
                ),
                "malformed",
            ),
            "a DID that is looked up nowhere": (
                agent,
                agent.request(protocol, pthid, did="did:example:1"),
                "did-unsupported",
            ),
        }
    elif protocol == CONNECTIONS_1_0:
        forged |= {
            "the document of another DID": (
                mallory,
                mallory.request(protocol, pthid, connection={"DID": agent.sov, "DIDDoc": mallory.legacy()}),
                "document-mismatch",
            ),
            "a resolvable DID": (
                mallory,
                mallory.request(
                    protocol,
                    pthid,
                    connection={"DID": agent.peer_2, "DIDDoc": {**mallory.legacy(), "id": agent.peer_2}},
                ),
                "did-unsupported",
            ),
            "no document": (
                agent,
                agent.request(protocol, pthid, connection={"DID": agent.sov}),
                "request-not-accepted",
            ),
        }
    else:
        forged |= {
            "no DID": (agent, agent.request(protocol, pthid, did=None), "request-not-accepted"),
            "a DID without place": (
                agent,
                agent.request(protocol, pthid, did=verkey_to_did_key(agent.verkey)),
                "no-endpoint",
            ),
        }
    for what, (by, message, code) in forged.items():
        await by.send(message, key)
        try:
            await refused(tenant, message["@id"], code)
        except AssertionError as error:
            raise AssertionError(what, *error.args) from error
    anonymous = agent.request(protocol, pthid)
    await agent.send(anonymous, key, anonymous=True)
    await refused(tenant, anonymous["@id"], "sender-unknown")
    assert await connections(tenant) == []
    assert (await tenant.get("contact"))["hits"] == []
    assert (await tenant.get(f"invitation/{made['uuid']}"))["status"] == "ACTIVE"
    assert (agent.heard(), mallory.heard()) == ([], [])

    await agent.send(agent.request(protocol, pthid), key)
    await agent.hears("/response")
    assert len(await connections(tenant)) == 1


@pytest.fixture
async def web(stack: Stack) -> AsyncIterator[Receiver]:
    """The host of one did:web document: its `text`."""
    running = Receiver()
    await running.start()
    yield running
    await running.stop()


def did_web(web: Receiver) -> str:
    return f"did:web:127.0.0.1%3A{web.url.rpartition(':')[2]}:agent"


def public(agent: Agent, did: str, **services: Any) -> Json:
    """A document of a DID with the agent's key and place."""
    keys = {"key-1": agent.keys.ed25519.public}
    return {**identity_document(did, keys, agent.endpoint), **services}


async def test_what_is_attached_for_a_did_that_can_be_resolved_counts_for_nothing(
    tenant: Client, agent: Agent, mallory: Agent, web: Receiver
) -> None:
    did = did_web(web)
    web.text = orjson.dumps(public(agent, did)).decode()
    _, pthid, key = await invited(tenant, multiUse=True)
    # Mallory has a document of the agent's DIDs with her own key, signed by it.
    for claimed in (did, agent.peer_4, agent.peer_2):
        attached = mallory.signed({**public(mallory, claimed), "id": claimed})
        for protocol in (DID_EXCHANGE_1_0, DID_EXCHANGE_1_1):
            message = mallory.request(protocol, pthid, did=claimed, did_doc__attach=attached)
            await mallory.send(message, key)
            await refused(tenant, message["@id"], "request-not-accepted")
    assert await connections(tenant) == []
    # The agent itself may attach whatever it likes: it is answered where its DID says.
    elsewhere = agent.another(keys=agent.keys, endpoint="http://127.0.0.1:9/elsewhere")
    for number, claimed in enumerate((did, agent.peer_4), start=1):
        attached = agent.signed({**public(elsewhere, claimed), "id": claimed})
        await agent.send(agent.request(DID_EXCHANGE_1_1, pthid, did=claimed, did_doc__attach=attached), key)
        await agent.hears("/response", number)
    assert {connection["theirDid"] for connection in await connections(tenant)} == {did, agent.peer_4}


async def test_what_is_attached_to_a_response_for_a_resolvable_did_counts_for_nothing(
    tenant: Client, agent: Agent, mallory: Agent, web: Receiver
) -> None:
    did = did_web(web)
    web.text = orjson.dumps(public(agent, did)).decode()
    for number, claimed in enumerate((did, agent.peer_4), start=1):
        uuid, request, ours = await requested(tenant, inviter := agent.another(), DID_EXCHANGE_1_1)
        attached = inviter.signed({**public(mallory, claimed), "id": claimed})
        message = inviter.response(
            DID_EXCHANGE_1_1,
            request["@id"],
            inviter.keys.ed25519,
            did=claimed,
            did_rotate__attach=inviter.signed(claimed),
            did_doc__attach=attached,
        )
        await inviter.send(message, ours)
        assert (await until_state(tenant, uuid, "completed"))["theirDid"] == claimed
        await agent.hears("/complete", number)
    assert mallory.heard() == []


async def test_a_did_peer_1_is_the_hash_of_its_document(tenant: Client, agent: Agent, mallory: Agent) -> None:
    _, pthid, key = await invited(tenant)
    document = {name: value for name, value in agent.legacy().items() if name != "id"}
    document["publicKey"] = [{**document["publicKey"][0], "id": "#1", "controller": "#id"}]
    document["authentication"] = ["#1"]
    did = "did:peer:1z" + encode_base58(b"\x12\x20" + hashlib.sha256(orjson.dumps(document)).digest())
    forged = {**document, "service": [{**document["service"][0], "serviceEndpoint": "https://example.com"}]}
    stolen = {**document, "publicKey": [{**document["publicKey"][0], "publicKeyBase58": mallory.verkey}]}
    for by, raw in ((agent, forged), (mallory, stolen)):
        for attached in (raw, {**raw, "id": did}):
            message = by.request(DID_EXCHANGE_1_0, pthid, did=did, did_doc__attach=by.signed(attached))
            await by.send(message, key)
            await refused(tenant, message["@id"], "document-mismatch")
    await agent.send(
        agent.request(DID_EXCHANGE_1_0, pthid, did=did, did_doc__attach=agent.signed({"id": did, **document})), key
    )
    await agent.hears("/response")
    assert [connection["theirDid"] for connection in await connections(tenant)] == [did]


# Threads that are somebody else's.


@DIALECT
async def test_nobody_else_ends_an_exchange(tenant: Client, agent: Agent, mallory: Agent, protocol: str) -> None:
    """Mallory has an exchange of her own under way, and knows the thread and the key of the agent's."""
    sides = {}
    for one in (agent, mallory):
        _, pthid, key = await invited(tenant)
        request = one.request(protocol, pthid)
        await one.send(request, key)
        _, ours = await one.hears("/response")
        sides[one.verkey] = request, ours
    request, ours = sides[agent.verkey]
    _, hers = sides[mallory.verkey]
    states = {connection["uuid"]: connection["state"] for connection in await connections(tenant)}
    assert set(states.values()) == {"response-sent"}
    reports = [report(protocol, request["@id"]), report(protocol, request["@id"], "abandoned")]
    if protocol != CONNECTIONS_1_0:
        for message in (complete(protocol, request), *reports):
            await refused(tenant, await mallory.send(message, hers), "thread-unknown")
        await refused(tenant, await mallory.send(complete(protocol, request), ours), "sender-not-connection")
        anonymous = await mallory.send(complete(protocol, request), ours, anonymous=True)
        await refused(tenant, anonymous, "sender-unknown")
    else:
        # Here any message would do: of the other side.
        for hidden in (True, False):
            ping = complete(protocol, request)
            await mallory.send(ping, ours, anonymous=hidden)
            assert not (await stored(tenant, ping["@id"])).authenticated
    for message in (report(protocol, request["@id"]), report(protocol, request["@id"], "abandoned")):
        await refused(tenant, await mallory.send(message, ours), "sender-not-connection")
    assert {connection["uuid"]: connection["state"] for connection in await connections(tenant)} == states
    await agent.send(complete(protocol, request), ours)

    async def ended() -> bool:
        return sorted(connection["state"] for connection in await connections(tenant)) == ["completed", "response-sent"]

    await tenant.stack.eventually(ended)


@DIALECT
async def test_nobody_else_gives_up_a_request(tenant: Client, agent: Agent, mallory: Agent, protocol: str) -> None:
    uuid, request, ours = await requested(tenant, agent, protocol)
    for code in ("request_not_accepted", "abandoned"):
        await refused(tenant, await mallory.send(report(protocol, request["@id"], code), ours), "sender-not-connection")
        by_nobody = report(protocol, request["@id"], code)
        await refused(tenant, await mallory.send(by_nobody, ours, anonymous=True), "sender-unknown")
        await refused(tenant, await agent.send(report(protocol, new_id(), code), ours), "thread-unknown")
    assert await state_of(tenant, uuid) == "request-sent"
    # The inviter's own word counts: the request may be sent again, on a thread of its own.
    await agent.send(report(protocol, request["@id"]), ours)
    await until_state(tenant, uuid, "invitation-received")
    await tenant.post(f"connection/{uuid}/accept", {}, 200)
    second, _ = await agent.hears("/request", 2)
    assert second["@id"] != request["@id"]
    await refused(
        tenant,
        await agent.send(agent.response(protocol, request["@id"], agent.keys.ed25519), ours),
        "thread-unknown",
    )
    await agent.send(agent.response(protocol, second["@id"], agent.keys.ed25519), ours)
    await until_state(tenant, uuid, "completed")


@DIALECT
async def test_a_problem_report_is_never_answered(tenant: Client, agent: Agent, mallory: Agent, protocol: str) -> None:
    uuid, request, ours = await requested(tenant, agent, protocol)
    _, pthid, key = await invited(tenant)
    _, connection_key = await connected(tenant, mallory, protocol)
    heard = len(agent.heard()), len(mallory.heard())
    reports = [
        (by, to, {"@type": type_, "@id": new_id(), "~thread": thread, "description": {"code": "request_not_accepted"}})
        for by, to, thid in ((agent, ours, request["@id"]), (agent, key, pthid), (mallory, connection_key, new_id()))
        for thread in ({"thid": thid}, {"thid": thid, "pthid": uuid}, {})
        for type_ in (
            f"{protocol}/problem_report",
            "https://didcomm.org/report-problem/1.0/problem-report",
            "https://didcomm.org/notification/1.0/problem-report",
            f"{ROTATE}problem-report",
            "https://didcomm.org/out-of-band/1.1/problem-report",
        )
    ]
    wanted = {"~please_ack": {}, "response_requested": True}
    await asyncio.gather(*(by.send({**message, **wanted}, to) for by, to, message in reports))
    for _, _, message in reports:
        await stored(tenant, str(message["@id"]))
    await asyncio.sleep(0.3)
    assert (len(agent.heard()), len(mallory.heard())) == heard


# Races and replays.


@DIALECT
@pytest.mark.parametrize("same", [False, True], ids=["ten-agents", "one-agent"])
async def test_one_of_ten_requests_gets_a_single_use_invitation(
    tenant: Client, agent: Agent, protocol: str, same: bool
) -> None:
    made, pthid, key = await invited(tenant)
    agents = [agent if same else agent.another() for _ in range(10)]
    requests = [one.request(protocol, pthid) for one in agents]
    await asyncio.gather(*(one.send(request, key) for one, request in zip(agents, requests, strict=True)))
    records = [await stored(tenant, request["@id"]) for request in requests]
    outcomes = sorted((record.status, record.error) for record in records)
    assert outcomes == [("RECEIVED", ""), *[("REJECTED", "invitation-not-valid")] * 9]
    [connection] = await connections(tenant)
    assert len((await tenant.get("contact"))["hits"]) == 1
    assert (await tenant.get(f"invitation/{made['uuid']}"))["status"] == "USED"
    won = next(number for number, record in enumerate(records) if record.status == "RECEIVED")
    response, ours = await agents[won].hears("/response")
    assert response["~thread"]["thid"] == requests[won]["@id"]
    await asyncio.sleep(0.3)
    heard = {id(one): len(one.heard()) for one in agents}
    assert sum(heard.values()) == 1
    await agents[won].send(complete(protocol, requests[won]), ours)
    await until_state(tenant, connection["uuid"], "completed")


@DIALECT
@pytest.mark.parametrize("multi_use", [False, True])
async def test_a_request_counts_once(tenant: Client, agent: Agent, protocol: str, multi_use: bool) -> None:
    _, pthid, key = await invited(tenant, multiUse=multi_use)
    request = agent.request(protocol, pthid)
    packed = agent.pack(request, key)
    for _ in range(2):
        # Byte for byte, packed anew, and at once.
        again = [packed, packed, agent.pack(request, key), agent.pack(request, key)]
        await asyncio.gather(*(tenant.stack.deliver(one) for one in again))
        _, ours = await agent.hears("/response")
        await agent.hears_nothing_more(1)
        assert len(await connections(tenant)) == 1
        assert len((await tenant.get("contact"))["hits"]) == 1
        assert len((await tenant.get("message?direction=IN"))["hits"]) == 1
    # Nor does it bring a completed connection back to its beginning.
    [connection] = await connections(tenant)
    await agent.send(complete(protocol, request), ours)
    done = await until_state(tenant, connection["uuid"], "completed")
    await tenant.stack.deliver(packed)
    other = {**request, "label": "another text under the same id"}
    await agent.send(other, key)
    await agent.hears_nothing_more(1)
    assert await connections(tenant) == [done]


@DIALECT
async def test_a_response_and_a_complete_count_once(tenant: Client, agent: Agent, protocol: str) -> None:
    uuid, request, ours = await requested(tenant, agent, protocol)
    response = agent.response(protocol, request["@id"], agent.keys.ed25519)
    packed = agent.pack(response, ours)
    for _ in range(2):
        await asyncio.gather(*(tenant.stack.deliver(one) for one in (packed, packed, agent.pack(response, ours))))
        await until_state(tenant, uuid, "completed")
        await agent.hears_nothing_more(2)  # the request and the complete
    for message in (await tenant.get("message?direction=IN"))["hits"]:
        assert (message["messageId"], message["status"]) == (response["@id"], "RECEIVED")


@DIALECT
async def test_invitations_that_are_good_no_longer(tenant: Client, agent: Agent, protocol: str) -> None:
    used, _, _ = first = await invited(tenant)
    await agent.send(agent.request(protocol, first[1]), first[2])
    await agent.hears("/response")
    soon = datetime.now(UTC) + timedelta(milliseconds=200)
    expired = await invited(tenant, multiUse=True, expiresAt=soon.isoformat())
    revoked = await invited(tenant, multiUse=True)
    await answered_once(tenant, agent, protocol, revoked)
    assert (await tenant.call("DELETE", f"invitation/{revoked[0]['uuid']}")).status == 204
    await asyncio.sleep(0.3)
    before = len(await connections(tenant))
    for _, pthid, key in (first, expired, revoked):
        for one in (agent, agent.another()):
            await refused(tenant, await one.send(one.request(protocol, pthid), key), "invitation-not-valid")
    # Nor by way of the identity's own key, or of another invitation's.
    identity = await (await tenant.tenant()).records.get(Identity, tenant.identity["uuid"])
    assert identity is not None
    public_key = next(iter(verkeys(parse_document(identity.document))))
    _, _, good = await invited(tenant, multiUse=True)
    for made, pthid, _ in (first, expired, revoked):
        await refused(tenant, await agent.send(agent.request(protocol, pthid), public_key), "invitation-not-valid")
        await refused(tenant, await agent.send(agent.request(protocol, pthid), good), "invitation-unknown")
        other = await tenant.stack.register("Other")
        body = {"invitationId": made["uuid"]}
        answer = await other.call("POST", "contact", body)
        assert answer.status == (400 if made is expired[0] else 404), answer.body
    assert len(await connections(tenant)) == before
    assert (await tenant.get(f"invitation/{used['uuid']}"))["status"] == "USED"


async def answered_once(tenant: Client, agent: Agent, protocol: str, invitation: tuple[Json, str, str]) -> None:
    """Answers an invitation once, so that this process knows it."""
    one = agent.another()
    await one.send(one.request(protocol, invitation[1]), invitation[2])
    await one.hears("/response")


async def test_another_tenants_invitation_is_answered_by_its_owner_alone(stack: Stack, tenant: Client) -> None:
    """Its id is what its maker hands out: who has it may answer it, as itself, and learns nothing else."""
    owner = await stack.register("Owner")
    made, _, _ = await invited(owner, multiUse=True)
    for call, path in (("GET", ""), ("GET", "/qr.svg"), ("GET", "/qr.png"), ("DELETE", "")):
        assert_problem(await tenant.call(call, f"invitation/{made['uuid']}{path}"), 404, "invitation-unknown")
    for guess in (new_id(), made["uuid"][:-1], made["invitation"]["@id"], "", owner.uuid, "../invitation"):
        answer = await tenant.call("POST", "contact", {"invitationId": guess})
        assert answer.status in (400, 404), answer.body
    assert (await owner.get(f"invitation/{made['uuid']}"))["status"] == "ACTIVE"
    assert await connections(owner) == []
    contact = await tenant.post("contact", {"invitationId": made["uuid"]})
    await until_state(tenant, contact["connectionUuid"], "completed")
    [connection] = await connections(owner)
    for verb in ("accept", "reject", "rotate", "hangup"):
        answer = await tenant.call("POST", f"connection/{connection['uuid']}/{verb}", {})
        assert_problem(answer, 404, "connection-unknown")
    await until_state(owner, connection["uuid"], "completed")


# Invitations that say more than their maker did.


async def test_what_is_attached_to_an_invitation_does_nothing_to_the_connection(
    tenant: Client, agent: Agent, mallory: Agent
) -> None:
    """An invitation is not signed: Mallory hands on the agent's, with messages of hers inside."""
    hook = await tenant.webhook()
    single, pthid, _ = await invited(tenant)
    attached: list[Json] = [
        {"@type": f"{ROTATE}rotate", "@id": new_id(), "to_did": mallory.peer_2},
        {"@type": f"{ROTATE}hangup", "@id": new_id()},
        {"@type": "https://didcomm.org/out-of-band/1.1/handshake-reuse", "@id": new_id(), "~thread": {"pthid": pthid}},
        {"@type": f"{DID_EXCHANGE_1_1}/complete", "@id": new_id()},
        basic("an offer", **{"@id": new_id()}),
    ]
    requests = [{"@id": f"request-{number}", "data": {"json": message}} for number, message in enumerate(attached)]
    uuid, request, ours = await requested(tenant, agent, DID_EXCHANGE_1_1, requests__attach=requests)
    await agent.send(agent.response(DID_EXCHANGE_1_1, request["@id"], agent.keys.ed25519), ours)
    done = await until_state(tenant, uuid, "completed")
    got = await hook.until(lambda got: got.json()["message"]["@id"] == attached[-1]["@id"])
    assert not got.json()["authenticated"]
    for message in attached:
        assert not (await stored(tenant, str(message["@id"]))).authenticated
    assert (await tenant.get(f"connection/{uuid}"))["theirDid"] == done["theirDid"] == agent.peer_2
    assert await state_of(tenant, uuid) == "completed"
    assert (await tenant.get(f"invitation/{single['uuid']}"))["status"] == "ACTIVE"
    await agent.hears_nothing_more(2)
    assert mallory.heard() == []


async def test_naming_a_did_that_cannot_be_reached_makes_nobody_its_owner(
    stack: Stack, tenant: Client, agent: Agent, mallory: Agent, web: Receiver
) -> None:
    """Mallory's invitation names the agent's DID, which is out of reach just then, and her own key beside it."""
    did = did_web(web)
    inline = mallory.invitation(DID_EXCHANGE_1_1)["services"]
    web.answer = lambda hook: (503, {})
    first, _, _ = await requested(tenant, mallory, DID_EXCHANGE_1_1, services=[did, *inline])
    request, ours = mallory.heard("/request")[0]
    await mallory.send(mallory.response(DID_EXCHANGE_1_1, request["@id"], mallory.keys.ed25519), ours)
    await until_state(tenant, first, "completed")
    web.answer, web.text = lambda hook: (200, {}), orjson.dumps(public(agent, did)).decode()
    await asyncio.sleep(3.1)  # until the failure is forgotten
    invitation = agent.invitation(DID_EXCHANGE_1_1, services=[did])
    made = await tenant.call("POST", "contact", {"invitation": invitation})
    assert made.status == 201, made.body
    assert made.json()["connectionUuid"] != first
    await agent.hears("/request")
    assert [one["@type"].rpartition("/")[2] for one, _ in mallory.heard()] == ["request", "complete"]


# DIDs that change.


async def rotated_to(tenant: Client, uuid: str, did: str) -> None:
    async def check() -> bool:
        return bool((await tenant.get(f"connection/{uuid}"))["theirDid"] == did)

    await tenant.stack.eventually(check)


def rotate(did: Any) -> Json:
    return {"@type": f"{ROTATE}rotate", "@id": new_id(), "to_did": did}


async def test_a_did_is_changed_by_its_owner_alone(tenant: Client, agent: Agent, mallory: Agent) -> None:
    connection, ours = await connected(tenant, agent)
    _, hers = await connected(tenant, mallory)
    heard = len(agent.heard()), len(mallory.heard())
    for name in ("rotate", "hangup"):
        message = {**rotate(mallory.peer_2), "@type": f"{ROTATE}{name}"}
        await refused(tenant, await mallory.send(message, ours), "sender-not-connection")
        nobodys = {**message, "@id": new_id()}
        await mallory.send(nobodys, ours, anonymous=True)
        assert not (await stored(tenant, nobodys["@id"])).authenticated
        # On her own connection she may, and that changes no other.
        await mallory.send({**rotate(agent.peer_2), "~thread": {"thid": connection["uuid"]}}, hers)
    assert await tenant.get(f"connection/{connection['uuid']}") == connection
    await asyncio.sleep(0.3)
    assert len(agent.heard()) == heard[0]


@pytest.mark.parametrize(
    ("did", "code"),
    [
        ("did:peer:2.Ez6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc", "e.did.doc_unsupported"),
        ("did:peer:4zQmXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX", "e.did.unresolvable"),
        ("did:peer:2.nothing", "e.did.unresolvable"),
        ("did:web:127.0.0.1%3A9:nobody", "e.did.unresolvable"),
        ("did:web:10.0.0.1", "e.did.unresolvable"),
        ("did:key:z6MkqRYqQiSgvZQdnBytw86Qbs2ZWUkGv22od935YF4s8M7V", "e.did.doc_unsupported"),
        ("did:example:123", "e.did.method_unsupported"),
        ("WgWxqztrNooG92RXvxSTWv", "e.did.method_unsupported"),
        ("", "e.did.method_unsupported"),
        (None, "e.did.method_unsupported"),
        (["did:example:123"], "e.did.method_unsupported"),
        ("did:peer:2" + "." * 100_000, "e.did.unresolvable"),
    ],
)
@pytest.mark.parametrize("root", ["https://didcomm.org/", "did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/"])
async def test_a_did_that_cannot_be_used_changes_nothing(
    tenant: Client, agent: Agent, did: Any, code: str, root: str
) -> None:
    connection, ours = await placed(tenant.stack, tenant, agent, "responder", "completed", DID_EXCHANGE_1_1)
    records = (await tenant.tenant()).records
    before = await records.get(Connection, connection.uuid)
    assert before is not None
    message = {**rotate(did), "@type": f"{root}did-rotate/1.0/rotate"}
    await agent.send(message, ours.verkey)
    answer, _ = await agent.hears("/problem-report")
    assert answer["@type"] == f"{root}did-rotate/1.0/problem-report"
    assert answer["description"]["code"] == code
    assert answer["~thread"]["pthid"] == message["@id"]
    after = await records.get(Connection, connection.uuid)
    assert after is not None
    assert (after.their_did, after.their_document, after.previous_document, after.state) == (
        before.their_did,
        before.their_document,
        before.previous_document,
        before.state,
    )


async def test_a_did_that_was_given_up_is_heard_but_decides_nothing(
    tenant: Client, agent: Agent, mallory: Agent
) -> None:
    """Mallory has stolen the keys that the agent gave up for that reason."""
    hook = await tenant.webhook("basicmessage")
    connection, ours = await connected(tenant, agent)
    new = agent.another()
    await agent.send(first := rotate(new.peer_2), ours)
    await rotated_to(tenant, connection["uuid"], new.peer_2)
    ack, _ = await agent.hears("/did-rotate/1.0/ack")
    assert (ack["~thread"]["thid"], new.heard()) == (first["@id"], [])
    late = basic("sent before, come after", **{"@id": new_id()})
    await agent.send(late, ours)
    assert (await hook.until(lambda got: got.json()["message"]["@id"] == late["@id"])).json()["authenticated"]
    for message in (rotate(mallory.peer_2), {"@type": f"{ROTATE}hangup", "@id": new_id()}):
        await refused(tenant, await agent.send(message, ours), "sender-retired")
    # An ack that was lost is asked for again in the same words, or by a new message that says the same.
    await new.send(again := rotate(new.peer_2), ours)
    ack, _ = await agent.hears("/did-rotate/1.0/ack", 2)
    assert ack["~thread"]["thid"] == again["@id"]
    await agent.send({**late, "@id": (later := new_id())}, ours)
    assert (await stored(tenant, later)).authenticated
    shown = await tenant.get(f"connection/{connection['uuid']}")
    assert (shown["state"], shown["theirDid"]) == ("completed", new.peer_2)
    await tenant.act(connection["contactUuid"], basic("to the new one"))
    await new.hears("basicmessage/1.0/message")
    assert mallory.heard() == []


async def test_before_the_exchange_is_over_there_is_no_did_to_change(
    tenant: Client, agent: Agent, mallory: Agent
) -> None:
    """Or else a key that is not the invitation's could vouch for the response."""
    uuid, request, ours = await requested(tenant, agent, DID_EXCHANGE_1_1)
    before = await tenant.get(f"connection/{uuid}")
    await agent.send(message := rotate(mallory.peer_2), ours)
    await stored(tenant, str(message["@id"]))
    response = mallory.response(DID_EXCHANGE_1_1, request["@id"], mallory.keys.ed25519)
    await refused(tenant, await mallory.send(response, ours), "response-not-accepted")
    assert await tenant.get(f"connection/{uuid}") == before
    await agent.hears_nothing_more(1)


async def test_an_ack_counts_once_and_for_its_own_rotation(tenant: Client, agent: Agent) -> None:
    connection, old = await connected(tenant, agent)
    path = f"connection/{connection['uuid']}"
    await tenant.post(f"{path}/rotate", {}, 200)
    message, _ = await agent.hears("/rotate")
    for thread in ({"thid": new_id()}, {"thid": "done"}, {"thid": ""}, {}):
        stray = {"@type": f"{ROTATE}ack", "@id": new_id(), "~thread": thread}
        await agent.send(stray, old)
        await stored(tenant, str(stray["@id"]))
    assert (await tenant.get(path))["myDid"] == connection["myDid"]
    acked = {"@type": f"{ROTATE}ack", "@id": new_id(), "~thread": {"thid": message["@id"]}, "status": "OK"}
    await agent.send(acked, old)

    async def adopted() -> bool:
        return bool((await tenant.get(path))["myDid"] == message["to_did"])

    await tenant.stack.eventually(adopted)
    # Nothing that comes after it turns the former DID away.
    for thid in (message["@id"], "done", ""):
        again = {"@type": f"{ROTATE}ack", "@id": new_id(), "~thread": {"thid": thid}}
        await agent.send(again, old)
        assert (await stored(tenant, str(again["@id"]))).status == "RECEIVED"
    new = next(iter(verkeys(peer.resolve(message["to_did"]))))
    for key in (old, new):
        await agent.send(said := basic("still read", **{"@id": new_id()}), key)
        assert (await stored(tenant, str(said["@id"]))).authenticated


async def test_a_rotation_that_is_refused_is_over(tenant: Client, agent: Agent) -> None:
    connection, ours = await connected(tenant, agent)
    path = f"connection/{connection['uuid']}"
    await tenant.post(f"{path}/rotate", {}, 200)
    message, _ = await agent.hears("/rotate")
    no = {
        "@type": f"{ROTATE}problem-report",
        "@id": new_id(),
        "~thread": {"thid": message["@id"], "pthid": message["@id"]},
        "description": {"code": "e.did.doc_unsupported"},
    }
    await agent.send(no, ours)
    await stored(tenant, str(no["@id"]))
    await agent.send(late := {"@type": f"{ROTATE}ack", "@id": new_id(), "~thread": {"thid": message["@id"]}}, ours)
    await stored(tenant, str(late["@id"]))
    assert (await tenant.get(path))["myDid"] == connection["myDid"]
    await tenant.post(f"{path}/rotate", {}, 200)
    second, _ = await agent.hears("/rotate", 2)
    assert second["to_did"] != message["to_did"]


async def test_a_rotation_that_is_asked_for_twice_is_one(tenant: Client, agent: Agent) -> None:
    """What the other side sends to the DID that it learned first must be read, whichever message it got."""
    connection, ours = await connected(tenant, agent)
    path = f"connection/{connection['uuid']}"
    for _ in range(2):
        await tenant.post(f"{path}/rotate", {}, 200)
    first, _ = await agent.hears("/rotate")
    second, _ = await agent.hears("/rotate", 2)
    assert first["to_did"] == second["to_did"]
    assert first["@id"] != second["@id"]
    new = next(iter(verkeys(peer.resolve(first["to_did"]))))
    await agent.send(said := basic("to the new DID", **{"@id": new_id()}), new)
    assert (await stored(tenant, str(said["@id"]))).authenticated
    for message in (first, second):
        await agent.send({"@type": f"{ROTATE}ack", "@id": new_id(), "~thread": {"thid": message["@id"]}}, ours)

    async def adopted() -> bool:
        return bool((await tenant.get(path))["myDid"] == first["to_did"])

    await tenant.stack.eventually(adopted)


async def test_a_flood_of_messages_while_both_sides_rotate_loses_none(stack: Stack) -> None:
    acme, bolt = await stack.register("Acme"), await stack.register("Bolt")
    hooks = await acme.webhook("basicmessage"), await bolt.webhook("basicmessage")
    invitation = await acme.post("invitation", {})
    contact = await bolt.post("contact", {"invitation": invitation["invitation"]})
    theirs = await until_state(bolt, contact["connectionUuid"], "completed")
    [mine] = await connections(acme)
    await until_state(acme, mine["uuid"], "completed")
    sides = (acme, mine), (bolt, theirs)
    number, rotations = 60, 3

    async def talk(client: Client, connection: Json) -> None:
        for count in range(number):
            await client.act(connection["contactUuid"], basic(count))

    async def turn(client: Client, connection: Json) -> None:
        path = f"connection/{connection['uuid']}"
        for _ in range(rotations):
            before = (await client.get(path))["myDid"]
            while (await client.call("POST", f"{path}/rotate", {})).status == 409:
                pass

            async def changed(path: str = path, before: str = before) -> bool:
                return bool((await client.get(path))["myDid"] != before)

            await stack.eventually(changed, 20)

    await asyncio.gather(*(talk(*side) for side in sides), *(turn(*side) for side in sides))
    for hook in hooks:
        await hook.count(number, 30)
        assert sorted(got.json()["message"]["content"] for got in hook.got) == list(range(number))
        assert all(got.json()["authenticated"] for got in hook.got)
    for client, _ in sides:
        assert (await client.get("message?status=REJECTED"))["hits"] == []


# Documents that are too much, and places where nobody may be sent.


def services(number: int) -> list[Json]:
    return [
        {"id": f"#{count}", "type": "did-communication", "serviceEndpoint": f"https://example.com/{count}"}
        for count in range(number)
    ]


async def test_documents_that_are_too_much(tenant: Client, agent: Agent, web: Receiver) -> None:
    """In a message, in a DID, and at a did:web: each is refused, and nobody waits for it."""
    did = did_web(web)
    made, pthid, key = await invited(tenant)
    padding = {"note": "x" * 1_000_000}
    many, large = {**agent.legacy(), "service": services(1000)}, {**agent.legacy(), **padding}
    long = f"{agent.peer_4}{'2' * 1_400_000}"
    keys = [("V", agent.keys.ed25519.public)]
    crowded = peer.create_2(keys, services(1000))  # type: ignore[arg-type]
    started = asyncio.get_running_loop().time()
    for message in (
        agent.request(DID_EXCHANGE_1_0, pthid, did_doc__attach=agent.signed(many)),
        agent.request(DID_EXCHANGE_1_0, pthid, did_doc__attach=agent.signed(large)),
        agent.request(CONNECTIONS_1_0, pthid, connection={"DID": agent.sov, "DIDDoc": many}),
        agent.request(CONNECTIONS_1_0, pthid, connection={"DID": agent.sov, "DIDDoc": large}),
    ):
        await refused(tenant, await agent.send(message, key), "document-too-large")
    for much in (long, crowded):
        message = agent.request(DID_EXCHANGE_1_1, pthid, did=much)
        await refused(tenant, await agent.send(message, key), "malformed-did")
    for document in (public(agent, did, service=services(1000)), public(agent, did, **padding)):
        web.text = orjson.dumps(document).decode()
        tenant.stack.app.services.resolver._found.drop(did)
        message = agent.request(DID_EXCHANGE_1_1, pthid, did=did)
        await agent.send(message, key)
        if "note" not in document:
            await refused(tenant, message["@id"], "document-too-large")
        else:
            await settled_without(tenant, message["@id"])
    assert asyncio.get_running_loop().time() - started < 10
    assert await connections(tenant) == []
    assert (await tenant.get(f"invitation/{made['uuid']}"))["status"] == "ACTIVE"
    assert agent.heard() == []


async def settled_without(client: Client, message_id: str) -> None:
    """That a message whose sender's document cannot be had is refused or still waited for, but does nothing."""
    await asyncio.sleep(0.5)
    records = (await client.tenant()).records
    found = (await records.list(Message, limit=1, where="messageId eq @id", parameters={"id": message_id})).records
    assert [(one.status, one.error) for one in found] in ([], [("REJECTED", "unresolvable")])


PRIVATE = [
    "http://10.0.0.1/didcomm",
    "http://169.254.169.254/latest/meta-data",
    "http://[::1]:7071/",
    "https://192.168.0.1",
]


async def test_nobody_is_sent_to_an_address_inside(stack: Stack, tenant: Client, agent: Agent) -> None:
    """A connection with such an endpoint costs who made it its answers, and nobody else anything."""
    honest, ours = await connected(tenant, agent)
    _, pthid, key = await invited(tenant, multiUse=True)
    started = asyncio.get_running_loop().time()
    for endpoint in PRIVATE:
        inside = agent.another(endpoint=endpoint)
        for protocol in DIALECTS:
            request = inside.request(protocol, pthid)
            await inside.send(request, key)
            assert (await stored(tenant, request["@id"])).status == "RECEIVED"
        invitation = agent.another(endpoint=endpoint).invitation(DID_EXCHANGE_1_1)
        await tenant.post("contact", {"invitation": invitation})
        await agent.send(rotate(inside.peer_2), ours)
        await rotated_to(tenant, honest["uuid"], inside.peer_2)
        # Back again, from the new DID.
        await inside.send(rotate(agent.peer_2), ours)
        await rotated_to(tenant, honest["uuid"], agent.peer_2)
    assert asyncio.get_running_loop().time() - started < 20

    async def tried() -> list[Json] | None:
        hits = (await tenant.get("delivery?limit=200"))["hits"]
        failed = [hit for hit in hits if hit["error"] == "refused-address"]
        return failed if len(failed) >= 4 * len(PRIVATE) else None

    for hit in await stack.eventually(tried):
        assert hit["responseStatus"] in (None, 0)
    await tenant.act(honest["contactUuid"], basic("still there"))
    await agent.hears("basicmessage/1.0/message")


async def test_no_did_leads_inside(
    stack: Stack, tenant: Client, agent: Agent, web: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in production: nothing but public addresses may be reached, whatever name or number leads there."""
    connection, ours = await placed(stack, tenant, agent, "responder", "completed", DID_EXCHANGE_1_1)
    _, pthid, key = await invited(tenant)
    asked: list[str] = []

    async def lookup(host: str) -> list[str]:
        asked.append(host)
        return {"public.example": ["10.0.0.1"], "both.example": ["1.1.1.1", "127.0.0.1"]}.get(host, ["127.0.0.1"])

    egress = stack.app.services.egress
    monkeypatch.setattr(egress, "_lookup", lookup)
    sessions: dict[str, Any] = {}
    monkeypatch.setattr(egress, "_sessions", sessions)
    for gate in egress._gates.values():
        monkeypatch.setattr(gate, "_allow", ())
    port = web.url.rpartition(":")[2]
    web.text = orjson.dumps(public(agent, did_web(web))).decode()
    dids = [
        did_web(web),
        f"did:web:localhost%3A{port}:agent",
        f"did:web:inside.example%3A{port}:agent",
        "did:web:public.example",
        "did:web:both.example",
        "did:web:10.0.0.1",
        "did:web:169.254.169.254:latest:meta-data",
        "did:web:[::1]",
        "did:web:%5B::1%5D",
        "did:web:2130706433",
        "did:web:0x7f000001",
        "did:web:user@inside.example",
        "did:web:inside.example%2F..%2Fx",
    ]
    for did in dids:
        message = agent.request(DID_EXCHANGE_1_1, pthid, did=did)
        await agent.send(message, key)
        await agent.send(rotate(did), ours.verkey)
        made = await tenant.call("POST", "contact", {"contact": {"did": did}})
        assert made.status in (201, 400), made.body
        if made.status == 201:
            assert made.json()["unreachable"]
        answer = await tenant.call(
            "POST", "contact", {"invitation": agent.invitation(DID_EXCHANGE_1_1, services=[did])}
        )
        assert answer.status == 400, answer.body
    await asyncio.sleep(0.5)
    monkeypatch.undo()
    for session in sessions.values():
        await session.close()
    assert web.got == []
    assert set(asked) <= {"localhost", "inside.example", "public.example", "both.example"}
    assert {"inside.example", "public.example", "both.example"} <= set(asked)
    shown = await tenant.get(f"connection/{connection.uuid}")
    assert (shown["theirDid"], shown["state"]) == (agent.peer_2, "completed")
    assert [one["role"] for one in await connections(tenant) if one["state"] != "start"] == ["responder"]


async def test_a_host_that_never_answers_holds_up_nobody(stack: Stack, tenant: Client, agent: Agent) -> None:
    """The document of a did:web is waited for; what came with that message, or after it, is not."""
    hook = await tenant.webhook("basicmessage")
    _, ours = await connected(tenant, agent)
    _, pthid, key = await invited(tenant)
    reached = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for number in range(20):
        did = f"did:web:127.0.0.1%3A{port}:agent-{number}"
        await agent.send(agent.request(DID_EXCHANGE_1_1, pthid, did=did), key)
    await asyncio.wait_for(reached.wait(), 5)
    await agent.send(said := basic("meanwhile", **{"@id": new_id()}), ours)
    await hook.until(lambda got: got.json()["message"]["@id"] == said["@id"], 5)
    server.close()
    assert len(await connections(tenant)) == 1
