"""What becomes of invitations and connections when things go another way than everybody hoped."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from tests.scenarios.common import assert_problem, basic, contact_out_of_reach
from tests.scenarios.foreign import connect_foreign
from tests.scenarios.test_did_exchange import completed, only_connection
from tests.stack import Client, Stack
from tntcore.connections.effect import Effect
from tntcore.services import Services
from tntcore.storage.commit import Unit
from tntcore.storage.queues import ListQueue
from tntcore.storage.records import Connection, Contact, Invitation
from tntcore.storage.repository import Repository


async def asks_first(client: Client) -> None:
    await client.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoAcceptConnections": False}}, 200)


async def test_who_was_rejected_and_deleted_does_not_take_the_invitation_along(
    stack: Stack, pair: tuple[Client, Client]
) -> None:
    acme, bolt = pair
    await asks_first(acme)
    invited = await acme.post("invitation", {"multiUse": True})
    await bolt.post("contact", {"invitationUrl": invited["invitationUrl"]})
    mine = await only_connection(acme)
    await acme.post(f"connection/{mine['uuid']}/reject", {}, 200)
    assert (await acme.call("DELETE", f"contact/{mine['contactUuid']}")).status == 204
    await acme.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoAcceptConnections": True}}, 200)
    carol = await stack.register("Carol")
    contact = await carol.post("contact", {"invitationUrl": invited["invitationUrl"]})
    await completed(carol, contact["connectionUuid"])


async def test_a_deletion_that_fails_leaves_the_connection_as_it_was(
    stack: Stack, pair: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    acme, bolt = pair
    mine, theirs = await stack.connect(acme, bolt)
    hook = await acme.webhook("basicmessage")

    async def away(repository: Repository, unit: Unit) -> None:
        raise ConnectionError("tables are away")

    with monkeypatch.context() as patch:
        patch.setattr(Repository, "commit", away)
        assert (await acme.call("DELETE", f"contact/{mine.contact_uuid}")).status == 500
    await bolt.act(theirs.contact_uuid, basic("still here"))
    assert (await hook.until(lambda got: True)).json()["authenticated"]


async def test_what_was_deleted_is_found_no_more(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    mine, _ = await stack.connect(acme, bolt)
    kids = [kid async for kid in _kids(acme, mine.uuid)]
    assert (await acme.call("DELETE", f"contact/{mine.contact_uuid}")).status == 204
    assert [await stack.app.services.lookups.find("key", kid) for kid in kids] == [None] * len(kids)


async def _kids(client: Client, connection: str) -> Any:
    tenant = await client.tenant()
    record = await tenant.records.get(Connection, connection)
    assert record is not None
    for kid in (await client.stack.app.services.tenants.open_recipient(tenant, record)).secrets:
        yield kid


@pytest.mark.parametrize("size", [30_000, 40_000, 58_000])
async def test_a_long_invitation_is_made_and_accepted(pair: tuple[Client, Client], size: int) -> None:
    acme, bolt = pair
    invited = await acme.post("invitation", {"requests": [basic("y" * size)]})
    assert orjson.dumps(invited["invitation"]).count(b"y" * size) == 1
    assert (await acme.get(f"invitation/{invited['uuid']}"))["invitation"] == invited["invitation"]
    contact = await bolt.post("contact", {"invitationId": invited["invitationId"]})
    await completed(bolt, contact["connectionUuid"])


async def test_one_that_is_too_long_is_refused(pair: tuple[Client, Client]) -> None:
    acme, _ = pair
    assert_problem(
        await acme.call("POST", "invitation", {"requests": [basic("y" * 61_000)]}), 413, "invitation-too-large"
    )
    assert (await acme.get("invitation"))["hits"] == []


async def test_an_invitations_content_is_kept_sealed(pair: tuple[Client, Client]) -> None:
    acme, _ = pair
    invited = await acme.post("invitation", {"label": "a label of its own", "requests": [basic("a private offer")]})
    row = await acme.stack.app.services.storage.records.get(acme.uuid, Invitation.row_key(invited["uuid"]))
    assert row is not None
    text = repr(row.values)
    assert "private offer" not in text
    assert "label of its own" not in text


@pytest.mark.parametrize(
    ("offered", "spoken"),
    [
        ("https://didcomm.org/didexchange/1.2", "https://didcomm.org/didexchange/1.1"),
        ("did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/didexchange/1.9/", "https://didcomm.org/didexchange/1.1"),
        ("https://didcomm.org/connections/1.1", "https://didcomm.org/connections/1.0"),
    ],
)
async def test_a_later_minor_version_is_answered_in_the_one_that_is_known(
    pair: tuple[Client, Client], offered: str, spoken: str
) -> None:
    acme, bolt = pair
    content = (await acme.post("invitation", {}))["invitation"]
    content["handshake_protocols"] = ["https://didcomm.org/didexchange/2.0", offered]
    content["accept"] = ["DIDComm/AIP1", "didcomm/aip2; env=rfc19"]
    contact = await bolt.post("contact", {"invitation": content})
    await completed(bolt, contact["connectionUuid"])
    assert (await bolt.get(f"connection/{contact['connectionUuid']}"))["protocol"] == spoken


async def test_naming_an_invitation_that_is_not_there_reads_no_list(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await stack.register("Inviter")
    await client.post("invitation", {})
    foreign = await connect_foreign(stack, client)
    other = await (await stack.register("Other")).post("invitation", {})
    listed: list[type] = []
    real = Repository.list

    async def noted(records: Repository, kind: Any, **options: Any) -> Any:
        listed.append(kind)
        return await real(records, kind, **options)

    monkeypatch.setattr(Repository, "list", noted)
    for number, pthid in enumerate(("never", other["invitation"]["@id"])):
        message = {
            "@type": "https://didcomm.org/out-of-band/1.1/handshake-reuse",
            "@id": f"reuse-{number}",
            "~thread": {"thid": f"reuse-{number}", "pthid": pthid},
        }
        item = {
            "id": stack.app.services.uuid7(),
            "p": client.uuid,
            "o": "connection",
            "u": foreign.connection.uuid,
            "e": foreign.v1(orjson.dumps(message)).decode(),
        }
        await stack.app.inbound.handle(orjson.dumps({"items": [item]}), 1)
    assert Invitation not in listed
    # It was heard, and not answered.
    messages = (await client.get("message"))["hits"]
    assert [message["direction"] for message in messages] == ["IN", "IN"]


async def test_accepting_a_request_does_not_rewrite_how_its_thread_began(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    await asks_first(acme)
    invited = await acme.post("invitation", {})
    contact = await bolt.post("contact", {"invitationUrl": invited["invitationUrl"]})
    mine = await only_connection(acme)
    [before] = (await acme.get("action"))["hits"]
    await asyncio.sleep(0.01)
    await acme.post(f"connection/{mine['uuid']}/accept", {}, 200)
    await completed(bolt, contact["connectionUuid"])
    [after] = (await acme.get("action"))["hits"]
    assert after["uuid"] == before["uuid"]
    assert (after["createdAt"], after["direction"]) == (before["createdAt"], before["direction"])
    assert after["updatedAt"] > before["updatedAt"]


async def test_a_decision_stands_when_its_message_cannot_be_queued(
    pair: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    acme, bolt = pair
    await asks_first(acme)
    invited = await acme.post("invitation", {})
    await bolt.post("contact", {"invitationUrl": invited["invitationUrl"]})
    mine = await only_connection(acme)
    counts = acme.stack.app.services.meter.counts

    async def away(queue: ListQueue, item: bytes) -> None:
        raise ConnectionError("queues are away")

    with monkeypatch.context() as patch:
        patch.setattr(ListQueue, "add", away)
        before = counts["invitations.unqueued"]
        accepted = await acme.post(f"connection/{mine['uuid']}/accept", {}, 200)
        assert accepted["state"] == "response-sent"
        assert counts["invitations.unqueued"] == before + 1
    [delivery] = (await acme.get("delivery"))["hits"]
    assert delivery["status"] == "PENDING"


@pytest.mark.parametrize("word", ["reject", "hangup"])
async def test_what_ends_a_connection_has_what_is_held_for_it_looked_at(
    stack: Stack, pair: tuple[Client, Client], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme, bolt = pair
    if word == "hangup":
        uuid = (await stack.connect(acme, bolt))[0].uuid
    else:
        await asks_first(bolt)
        invited = await bolt.post("invitation", {})
        contact = await acme.post("contact", {"invitationUrl": invited["invitationUrl"]})
        uuid = contact["connectionUuid"]
        await acme.act(contact["uuid"], basic("held"))
    drained: list[str] = []

    async def note(services: Services, principal: str, connection: str) -> None:
        drained.append(connection)

    monkeypatch.setattr("tntcore.connections.changes.drain", note)
    ended = await acme.post(f"connection/{uuid}/{word}", {}, 200)
    assert ended["state"] == "abandoned"
    assert drained == [uuid]


async def test_a_column_can_be_emptied(stack: Stack) -> None:
    client = await stack.register("Cleared")
    contact = await contact_out_of_reach(client, "did:web:partner.example")
    tenant = await client.tenant()
    for thid in ("abc", ""):
        connection = await tenant.records.get(Connection, contact["connectionUuid"])
        assert connection is not None
        connection.next_thid = thid
        unit = Unit()
        Effect(connection).add_to(unit)
        await tenant.records.commit(unit)
        again = await tenant.records.get(Connection, connection.uuid)
        assert again is not None
        assert again.next_thid == thid
    assert await tenant.records.get(Contact, contact["uuid"]) is not None


async def test_a_page_ends_when_it_is_large_and_goes_on_with_the_next(stack: Stack) -> None:
    client = await stack.register("Large")
    foreign = await connect_foreign(stack, client)
    services = stack.app.services
    for number in range(7):
        uuid = services.uuid7()
        packed = foreign.v1(orjson.dumps(basic(f"{number}" + "z" * 1_500_000)))
        await services.storage.envelopes.put(uuid, packed)
        item = {"id": uuid, "p": client.uuid, "o": "connection", "u": foreign.connection.uuid}
        await stack.app.inbound.handle(orjson.dumps({"items": [item]}), 1)
    seen, sizes, token = [], [], ""
    while True:
        answer = await client.call("GET", f"message?limit=200{token}")
        assert answer.status == 200
        page = answer.json()
        assert page["total"] == {"value": 7, "relation": "eq"}
        seen += [hit["message"]["content"][0] for hit in page["hits"]]
        sizes.append(len(page["hits"]))
        assert len(answer.body) < 6_100_000
        if page["next"] is None:
            break
        token = f"&next={page['next']}"
    assert seen == list("0123456")
    assert sizes == [3, 3, 1]


async def test_all_that_can_follow_from_one_message_fits_in_a_transaction(stack: Stack) -> None:
    client = await stack.register("Busy")
    for key, most in (("DIDCOMM_WEBHOOK", 20), ("TASK_WEBHOOK", 8)):
        entries = [{"url": f"http://127.0.0.1:9/{number}"} for number in range(most)]
        await client.post(f"settings/{key}", {"setting": entries}, 200)
        assert_problem(
            await client.call("POST", f"settings/{key}", {"setting": [*entries, *entries[:1]]}), 400, "setting-invalid"
        )
    foreign = await connect_foreign(stack, client)
    message = {
        "@type": "https://didcomm.org/did-rotate/1.0/hangup",
        "@id": "the end",
        "x~attach": [{"data": {"json": number}} for number in range(100)],
    }
    assert (await stack.deliver(foreign.v1(orjson.dumps(message)))).status == 202

    async def ended() -> bool:
        connection = await client.get(f"connection/{foreign.connection.uuid}")
        return bool(connection["state"] == "abandoned")

    await stack.eventually(ended)
    assert (await client.get("delivery"))["total"]["value"] == 28
