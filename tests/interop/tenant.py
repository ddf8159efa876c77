"""A tenant of the service as the interop tests drive it: over HTTP alone, as the tenant's own system would."""

from __future__ import annotations

from typing import Any

from tests.interop.acapy import Acapy
from tests.interop.credo import Credo
from tests.stack import Client

Entity = dict[str, Any]

BASIC = "https://didcomm.org/basicmessage/1.0/message"
PATIENCE = 20.0  # seconds


async def invite(tenant: Client, *protocols: str, **more: Any) -> Entity:
    """A new invitation as the service answers it, with `invitation` and `invitationUrl`; by default all protocols."""
    return dict(await tenant.post("invitation", {"handshakeProtocols": list(protocols) or None, **more}))


async def accept(tenant: Client, invitation: Entity | str, **more: Any) -> Entity:
    """Accepts an invitation, or the URL of one; the new contact, with its `connectionUuid`."""
    member = "invitationUrl" if isinstance(invitation, str) else "invitation"
    return dict(await tenant.post("contact", {member: invitation, **more}))


async def auto_accept(tenant: Client, on: bool) -> None:
    await tenant.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoAcceptConnections": on}}, 200)


async def until_state(tenant: Client, connection: str, *states: str) -> Entity:
    """The connection, once it is in one of these states."""

    async def check() -> Entity | None:
        found: Entity = await tenant.get(f"connection/{connection}")
        return found if found["state"] in states else None

    try:
        return dict(await tenant.stack.eventually(check, PATIENCE))
    except TimeoutError:
        found = await tenant.get(f"connection/{connection}")
        raise AssertionError(f"not {' or '.join(states)}: {found}; {await stored(tenant)}") from None


async def until_connected(tenant: Client, number: int = 1, state: str = "completed") -> list[Entity]:
    """All connections of the tenant in a state, once there are that many."""

    async def check() -> list[Entity] | None:
        hits: list[Entity] = (await tenant.get(f"connection?state={state}"))["hits"]
        return hits if len(hits) >= number else None

    try:
        return list(await tenant.stack.eventually(check, PATIENCE))
    except TimeoutError:
        found = (await tenant.get("connection"))["hits"]
        raise AssertionError(f"not {number} {state}: {found}; {await stored(tenant)}") from None


async def until_refused(tenant: Client, type_: str) -> Entity:
    """The message of that type that was received and refused."""

    async def check() -> Entity | None:
        hits: list[Entity] = (await tenant.get("message"))["hits"]
        return next((hit for hit in hits if hit["type"] == type_ and hit["error"]), None)

    try:
        return dict(await tenant.stack.eventually(check, PATIENCE))
    except TimeoutError:
        raise AssertionError(f"no {type_} was refused; {await stored(tenant)}") from None


async def stored(tenant: Client) -> str:
    """All messages of the tenant, for a failed test to show."""
    hits = (await tenant.get("message"))["hits"]
    return f"messages: {[(hit['type'], hit['direction'], hit['status'], hit.get('error')) for hit in hits]}"


async def send(tenant: Client, contact: str, type_: str, **members: Any) -> str:
    """Sends a message in an action of its own; its thread id."""
    return str((await tenant.act(contact, {"@type": type_, **members}))["referenceID"])


async def heard(tenant: Client, type_: str, **members: Any) -> Entity:
    """The webhook's body for the message of that type with these members; `thid` is that of its thread."""
    thid = members.pop("thid", None)

    def fits(message: Any) -> bool:
        return (
            isinstance(message, dict)
            and message.get("@type") == type_
            and (thid is None or message.get("~thread", {}).get("thid") == thid)
            and all(message.get(name) == value for name, value in members.items())
        )

    [receiver] = tenant.receivers
    try:
        return dict((await receiver.until(lambda hook: fits(hook.json()["message"]), PATIENCE)).json())
    except TimeoutError:
        raise AssertionError(f"the webhook was not called with {type_} {members}; {await stored(tenant)}") from None


async def talk(tenant: Client, connection: Entity, agent: Acapy | Credo, theirs: str) -> None:
    """A basic message each way over the connection, which is `theirs` at the agent."""
    text = f"to {agent.name} by {connection['uuid']}"
    # Credo refuses a basic message without a time.
    await send(tenant, connection["contactUuid"], BASIC, content=text, sent_time="2026-01-01T00:00:00Z")
    await agent.wait_message(theirs, text)
    text = f"from {agent.name} by {theirs}"
    await agent.send_message(theirs, text)
    hook = await heard(tenant, BASIC, content=text)
    assert (hook["connectionUuid"], hook["contactUuid"]) == (connection["uuid"], connection["contactUuid"])
    assert hook["authenticated"]


async def connect(tenant: Client, agent: Acapy, *protocols: str, **more: Any) -> tuple[Entity, str]:
    """A completed connection by an invitation of the agent's, and its id there. `more` is said on accepting it."""
    invitation = await agent.create_invitation(*protocols)
    contact = await accept(tenant, invitation, **more)
    theirs = await agent.wait_invited(invitation, "completed")
    return await until_state(tenant, contact["connectionUuid"], "completed"), theirs["connection_id"]


async def did_key(tenant: Client) -> str:
    """A new identity, to issue with or to hold for."""
    return str((await tenant.post("identity", {"method": "did:key"}))["did"])


async def automatic(tenant: Client, **steps: bool) -> None:
    """Which steps of the credential protocols are taken without asking: `autoOffer`, `autoIssue`, ..."""
    await tenant.post("settings/PRINCIPAL_SETTINGS", {"setting": steps}, 200)


async def exchange_of(tenant: Client, thread: str, state: str) -> Entity:
    """The exchange of a thread, once it is in a state."""

    async def check() -> Entity | None:
        hits: list[Entity] = (await tenant.get("exchange?limit=200"))["hits"]
        return next((hit for hit in hits if hit["thid"] == thread and hit["state"] == state), None)

    try:
        return dict(await tenant.stack.eventually(check, PATIENCE))
    except TimeoutError:
        found = [
            {name: hit[name] for name in ("role", "state", "status", "error", "thid")}
            for hit in (await tenant.get("exchange?limit=200"))["hits"]
        ]
        raise AssertionError(f"no {thread} in {state}: {found}; {await stored(tenant)}") from None


async def accept_exchange(tenant: Client, exchange: Entity, **body: Any) -> Entity:
    """Takes the next step of an exchange; the exchange after it."""
    return dict(await tenant.post(f"exchange/{exchange['uuid']}/accept", body, 200))


async def reject_exchange(tenant: Client, exchange: Entity, reason: str) -> Entity:
    return dict(await tenant.post(f"exchange/{exchange['uuid']}/reject", {"reason": reason}, 200))


async def credential_of(tenant: Client, exchange: Entity) -> Entity:
    """The credential that an exchange brought."""
    [uuid] = exchange["credentialUuids"]
    return dict(await tenant.get(f"credential/{uuid}"))
