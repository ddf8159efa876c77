"""What crashes, redeliveries and races do to exchanges: a step is taken once, and what it says is sent once."""

import asyncio
from typing import Any

import orjson
import pytest

from tests.scenarios.foreign import Foreign, connect_foreign
from tests.scenarios.test_credentials import offer
from tests.scenarios.test_exchanges import connected, only, state
from tests.scenarios.test_redelivery import once
from tests.security.test_exchanges import DETAIL, ISSUE, PROVE, comes, item, requesting, said
from tests.stack import Client, Stack
from tntcore.credentials.formats import Check, Verification
from tntcore.credentials.wallet import Details, held_credentials, open_details, seal_details
from tntcore.storage.commit import Unit
from tntcore.storage.records import Credential
from tntcore.storage.states import CredentialStatus

LD = "ld-proof/Ed25519Signature2020"


@pytest.fixture
async def foreign(stack: Stack) -> Foreign:
    return await connect_foreign(stack, await stack.register("Tenant"))


def moves_an_exchange(_principal: str, unit: Unit) -> bool:
    return any(operation.row.startswith("exchange~") for operation in unit.operations)


async def outgoing(client: Client, name: str) -> list[Any]:
    hits = (await client.get("message?direction=OUT&limit=200"))["hits"]
    return [hit for hit in hits if hit["type"].endswith(f"/{name}")]


async def test_a_crash_between_commit_and_publishing(
    stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The credential is issued, but not sent: the redelivery sends that one."""
    client = foreign.client
    begun = await client.post("credential", offer(LD, foreign.connection.contact_uuid))
    request = said(f"{ISSUE}/request-credential", begun["thid"], "1", await requesting(client, begun), DETAIL)
    given = orjson.dumps({"items": [item(foreign, request)]})
    outbox, put = stack.app.outbox, list[Any]()
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "outbound", once(outbox.outbound))
        with pytest.raises(ConnectionError):
            await stack.app.exchange.handle(given, 1)
    assert (await client.get(f"exchange/{begun['uuid']}"))["state"] == "credential-issued"
    redeliver = outbox.outbound

    async def seen(sent: Any) -> None:
        put.append(sent)
        await redeliver(sent)

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "outbound", seen)
        for count in (2, 3):
            await stack.app.exchange.handle(given, count)
    [issued] = await outgoing(client, "issue-credential")
    assert {sent.message for sent in put} == {issued["uuid"]}
    assert len((await client.get("credential"))["hits"]) == 1


async def test_a_failed_commit_leaves_nothing(stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch) -> None:
    client, committer = foreign.client, stack.app.services.storage.committer
    begun = await client.post("credential", offer(LD, foreign.connection.contact_uuid))
    request = said(f"{ISSUE}/request-credential", begun["thid"], "1", await requesting(client, begun), DETAIL)
    given = orjson.dumps({"items": [item(foreign, request)]})
    with monkeypatch.context() as patch:
        patch.setattr(committer, "commit", once(committer.commit, moves_an_exchange))
        with pytest.raises(ConnectionError):
            await stack.app.exchange.handle(given, 1)
    assert (await client.get(f"exchange/{begun['uuid']}"))["state"] == "offer-sent"
    await stack.app.exchange.handle(given, 2)
    assert len(await outgoing(client, "issue-credential")) == 1


async def test_the_tenants_word_counts_once(stack: Stack) -> None:
    issuer, holder, mine, _ = await connected(stack, "v1")
    begun = await issuer.post("credential", offer(LD, mine.contact_uuid))
    offered = await only(stack, holder, "offer-received")
    answers = await asyncio.gather(*(holder.call("POST", f"exchange/{offered['uuid']}/accept", {}) for _ in range(6)))
    statuses = sorted(answer.status for answer in answers)
    assert statuses == [200, 409, 409, 409, 409, 409]
    assert len(await outgoing(holder, "request-credential")) == 1
    await state(stack, issuer, begun["uuid"], "done")


async def test_the_tenants_word_and_a_message_at_once(foreign: Foreign) -> None:
    """The request is replaced while the tenant answers it: one of the two comes first, and both are in order."""
    client = foreign.client
    await comes(foreign, said(f"{PROVE}/request-presentation", "T", "1", {"a": 1}))
    [exchange] = (await client.get("exchange"))["hits"]
    answer, [second] = await asyncio.gather(
        client.call("POST", f"exchange/{exchange['uuid']}/accept", {"data": {"attachment": {"b": 1}}}),
        comes(foreign, said(f"{PROVE}/request-presentation", "T", "2", {"a": 2})),
    )
    after, shown = await client.get(f"exchange/{exchange['uuid']}"), await outgoing(client, "presentation")
    if answer.status == 200:
        assert len(shown) == 1
        assert (after["state"], second["error"]) == ("done", "out-of-turn") or after["messages"]["request"] == second[
            "uuid"
        ]
    else:
        assert answer.json()["type"] == "urn:tnt:problem:exchange-changed"
        assert (after["state"], shown) == ("request-received", [])


async def test_an_acknowledgement_by_action_stores_the_credential(stack: Stack) -> None:
    issuer, holder, mine, _ = await connected(stack, "v1")
    await holder.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoStore": False}}, 200)
    begun = await issuer.post("credential", offer(LD, mine.contact_uuid))
    received = await only(stack, holder, "offer-received")
    await holder.post(f"exchange/{received['uuid']}/accept", {}, 200)
    await state(stack, holder, received["uuid"], "credential-received")
    ack = {"@type": "https://didcomm.org/notification/1.0/ack", "status": "OK"}
    await holder.post(f"action/{received['uuid']}", {"data": {"message": ack}}, 200)
    assert (await holder.get(f"exchange/{received['uuid']}"))["status"] == "DONE"
    [credential] = (await holder.get("credential"))["hits"]
    assert credential["status"] == "HELD"
    await state(stack, issuer, begun["uuid"], "done")


async def test_the_newest_of_more_credentials_than_a_page_has(
    foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = (await foreign.client.tenant()).records
    uuids = [foreign.stack.app.services.uuid7() for _ in range(7)]
    for number, uuid in enumerate(uuids):
        record = Credential(uuid=uuid, status=CredentialStatus.HELD, format="other" if number == 6 else "jwt-vc")
        data = orjson.dumps({"value": number, "secret": ""})
        record.body = records.seal(data, f"{record.key}/body")
        unit = Unit()
        unit.create(record)
        await records.commit(unit)
    monkeypatch.setattr("tntcore.credentials.wallet._PAGE", 2)
    held = await held_credentials(records, frozenset({"jwt-vc", "ld-proof"}))
    assert [one.value for one in held] == [5, 4, 3, 2, 1, 0]
    assert await held_credentials(records, frozenset()) == []


async def test_checks_without_end_fit_in_a_row(foreign: Foreign) -> None:
    records = (await foreign.client.tenant()).records
    checks = [Check("signature", number != 599, "x" * 5_000, f"credential {number}") for number in range(600)]
    record = Credential(uuid=foreign.stack.app.services.uuid7())
    required = frozenset((check.name, check.subject) for check in checks)
    seal_details(records, record, Details({"claims": "x" * 100_000}, Verification(checks, required)))
    assert not record.verified
    unit = Unit()
    unit.create(record)
    await records.commit(unit)
    kept = open_details(records, record)
    assert [check["subject"] for check in kept.checks if not check["passed"]] == ["credential 599"]
