"""What tests of handshakes have in common: what a tenant sees of them, and the ways to one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.security.agents import DIALECTS, Agent, Json, new_id, verkey_of
from tests.stack import Client, Receiver, Stack
from tntcore.connections.connection import pairwise, start
from tntcore.connections.documents import kept
from tntcore.dids.web import identity_document
from tntcore.protocols.did_exchange import CONNECTIONS_1_0, DID_EXCHANGE_1_1
from tntcore.storage.commit import Unit
from tntcore.storage.lookups import Found
from tntcore.storage.queries import Where
from tntcore.storage.records import Connection, Contact, Identity, Message
from tntcore.storage.states import ContactStatus
from tntcore.tenancy.recipients import KeyPairs

PING = "https://didcomm.org/trust_ping/1.0/ping"
ROTATE = "https://didcomm.org/did-rotate/1.0/"
DIALECT = pytest.mark.parametrize("protocol", DIALECTS, ids=["didexchange-1.1", "didexchange-1.0", "connections-1.0"])


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
        found = await records.list(Message, limit=1, where=Where("messageId eq @id", {"id": message_id}))
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


async def told(agent: Agent, request: Json, protocol: str, key: str, code: str = "request_not_accepted") -> Json:
    """The problem report about this message that the agent got, by `key` and in the words of the dialect."""

    async def check() -> tuple[Json, str] | None:
        return next(
            (one for one in agent.heard("/problem_report") if one[0]["~thread"]["thid"] == request["@id"]), None
        )

    try:
        message, sender = await agent.stack.eventually(check)
    except TimeoutError:
        raise AssertionError([(one["@type"], one.get("~thread")) for one, _ in agent.heard()]) from None
    assert (message["@type"], sender) == (f"{protocol}/problem_report", key)
    assert (message["problem-code"], message["description"]["code"]) == (code, code)
    assert message["explain"]
    return message  # type: ignore[no-any-return]


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


def did_web(web: Receiver) -> str:
    return f"did:web:127.0.0.1%3A{web.url.rpartition(':')[2]}:agent"


def public(agent: Agent, did: str, **services: Any) -> Json:
    """A document of a DID with the agent's key and place."""
    keys = {"key-1": agent.keys.ed25519.public}
    return {**identity_document(did, keys, agent.endpoint), **services}


async def placed(
    stack: Stack, client: Client, agent: Agent, role: str, state: str, protocol: str, *, thid: str = ""
) -> tuple[Connection, KeyPairs]:
    """A connection with the agent that is in this state, whatever would have led there; and our keys for it."""
    services, owner = stack.app.services, await client.tenant()
    identity = await owner.records.get(Identity, client.identity["uuid"])
    assert identity is not None
    now, theirs = services.now(), agent.document_in(protocol)
    contact = Contact(
        uuid=services.uuid7(), status=ContactStatus.REQUESTED, did=theirs.id, created_at=now, updated_at=now
    )
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
    unit.create(contact)
    unit.create(connection)
    await owner.records.commit(unit)
    return connection, ours


def rotate(did: Any) -> Json:
    return {"@type": f"{ROTATE}rotate", "@id": new_id(), "to_did": did}


async def rotated_to(tenant: Client, uuid: str, did: str) -> None:
    async def check() -> bool:
        return bool((await tenant.get(f"connection/{uuid}"))["theirDid"] == did)

    await tenant.stack.eventually(check)
