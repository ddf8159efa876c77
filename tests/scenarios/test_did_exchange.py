"""Two tenants become each other's contacts, by invitation and by public DID, in every dialect of DID exchange."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.scenarios.common import assert_problem
from tests.stack import Client, Receiver, Stack
from tntcore.protocols.did_exchange import CONNECTIONS_1_0, DID_EXCHANGE_1_0, DID_EXCHANGE_1_1


async def completed(client: Client, uuid: str) -> dict[str, Any]:
    """The connection, once it is completed."""

    async def check() -> dict[str, Any] | None:
        connection: dict[str, Any] = await client.get(f"connection/{uuid}")
        return connection if connection["state"] == "completed" else None

    found: dict[str, Any] = await client.stack.eventually(check)
    return found


async def only_connection(client: Client) -> dict[str, Any]:
    async def check() -> dict[str, Any] | None:
        hits = (await client.get("connection"))["hits"]
        return hits[0] if hits else None

    found: dict[str, Any] = await client.stack.eventually(check)
    return found


@pytest.mark.parametrize("protocol", [DID_EXCHANGE_1_1, DID_EXCHANGE_1_0, CONNECTIONS_1_0])
async def test_an_invitation_is_accepted_and_messages_go_both_ways(
    stack: Stack, pair: tuple[Client, Client], protocol: str
) -> None:
    acme, bolt = pair
    hook_a, hook_b = await acme.webhook("basicmessage"), await bolt.webhook("basicmessage")
    invited = await acme.post("invitation", {"handshakeProtocols": [protocol]})
    contact = await bolt.post("contact", {"invitationUrl": invited["invitationUrl"]})
    theirs = await completed(bolt, contact["connectionUuid"])
    mine = await completed(acme, (await only_connection(acme))["uuid"])
    assert (mine["role"], theirs["role"]) == ("responder", "requester")
    assert mine["theirDid"].removeprefix("did:sov:") == theirs["myDid"].removeprefix("did:sov:")
    assert (await bolt.get(f"contact/{contact['uuid']}"))["status"] == "ACCEPTED"
    assert (await acme.get(f"contact/{mine['contactUuid']}"))["status"] == "ACCEPTED"
    message = {"@type": "https://didcomm.org/basicmessage/1.0/message", "content": "from bolt"}
    await bolt.act(contact["uuid"], message)
    await acme.act(mine["contactUuid"], {**message, "content": "from acme"})
    assert (await hook_a.until(lambda hook: True)).json()["message"]["content"] == "from bolt"
    assert (await hook_b.until(lambda hook: True)).json()["message"]["content"] == "from acme"
    used = await acme.get(f"invitation/{invited['uuid']}")
    assert used["status"] == "USED"


async def test_a_public_did_is_an_invitation(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    contact = await acme.post("contact", {"contact": {"did": bolt.identity["did"], "displayName": "Bolt"}})
    assert contact["unreachable"] is None
    await completed(acme, contact["connectionUuid"])
    assert (await only_connection(bolt))["role"] == "responder"


async def test_connections_are_listed_by_role(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    contact = await acme.post("contact", {"contact": {"did": bolt.identity["did"]}})
    [asked] = (await acme.get("connection?role=requester"))["hits"]
    assert asked["uuid"] == contact["connectionUuid"]
    assert (await acme.get("connection?role=responder"))["hits"] == []


async def test_only_one_of_two_requests_gets_a_single_use_invitation(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    carl = await stack.register("Carl")
    invited = await acme.post("invitation", {})
    body = {"invitationId": invited["invitationId"]}
    made = await asyncio.gather(bolt.post("contact", body), carl.post("contact", body))
    await only_connection(acme)
    await asyncio.sleep(1.5)
    states = [
        (await client.get(f"connection/{contact['connectionUuid']}"))["state"]
        for client, contact in zip((bolt, carl), made, strict=True)
    ]
    # Who came too late is told so.
    assert sorted(states) == ["abandoned", "completed"]
    assert len((await acme.get("connection"))["hits"]) == 1


async def test_a_request_waits_for_the_tenants_word(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    await acme.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoAcceptConnections": False}}, 200)
    for word, state in (("accept", "completed"), ("reject", "abandoned")):
        invited = await acme.post("invitation", {})
        contact = await bolt.post("contact", {"invitation": invited["invitation"]})

        async def waiting() -> dict[str, Any] | None:
            hits = (await acme.get("connection?state=request-received"))["hits"]
            return hits[0] if hits else None

        mine = await acme.stack.eventually(waiting)
        assert (await acme.get(f"contact/{mine['contactUuid']}"))["status"] == "REQUESTED"
        await acme.post(f"connection/{mine['uuid']}/{word}", {}, 200)
        if state == "completed":
            await completed(bolt, contact["connectionUuid"])
            await completed(acme, mine["uuid"])
        else:
            assert (await acme.get(f"contact/{mine['contactUuid']}"))["status"] == "REJECTED"

            async def told() -> bool:
                connection = await bolt.get(f"connection/{contact['connectionUuid']}")  # noqa: B023
                return bool(connection["state"] == "abandoned")

            await acme.stack.eventually(told)


async def test_what_is_sent_before_the_exchange_is_completed_goes_out_by_itself(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    hook = await acme.webhook("basicmessage")
    await acme.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoAcceptConnections": False}}, 200)
    invited = await acme.post("invitation", {})
    contact = await bolt.post("contact", {"invitationId": invited["uuid"]})
    for number in range(3):
        await bolt.act(contact["uuid"], {"@type": "https://didcomm.org/basicmessage/1.0/message", "n": number})
    mine = await only_connection(acme)
    await acme.post(f"connection/{mine['uuid']}/accept", {}, 200)
    await hook.count(3)
    # Calls may overtake each other; `sequence` is the order of receipt.
    got = sorted((hook.json() for hook in hook.got), key=lambda body: body["sequence"])
    assert [body["message"]["n"] for body in got] == [0, 1, 2]


async def test_an_email_makes_an_invitation_for_that_contact(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    contact = await acme.post("contact", {"contact": {"email": "someone@example.org", "displayName": "Someone"}})
    made = await bolt.post("contact", {"invitationId": contact["invitationId"]})
    await completed(bolt, made["connectionUuid"])
    await completed(acme, contact["connectionUuid"])
    known = await acme.get(f"contact/{contact['uuid']}")
    assert (known["status"], known["displayName"]) == ("ACCEPTED", "Someone")
    assert len((await acme.get("contact"))["hits"]) == 1


async def connected(stack: Stack, pair: tuple[Client, Client]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both sides of a connection that came about by an exchange."""
    acme, bolt = pair
    invited = await acme.post("invitation", {})
    contact = await bolt.post("contact", {"invitation": invited["invitation"]})
    theirs = await completed(bolt, contact["connectionUuid"])
    return await completed(acme, (await only_connection(acme))["uuid"]), theirs


async def test_a_rotated_side_goes_on_under_its_new_did(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    hook_a, hook_b = await acme.webhook("basicmessage"), await bolt.webhook("basicmessage")
    mine, theirs = await connected(stack, pair)
    for _ in range(2):
        before = (await acme.get(f"connection/{mine['uuid']}"))["myDid"]
        await acme.post(f"connection/{mine['uuid']}/rotate", {}, 200)

        async def rotated() -> bool:
            return bool((await acme.get(f"connection/{mine['uuid']}"))["myDid"] != before)  # noqa: B023

        await stack.eventually(rotated)
        assert (await bolt.get(f"connection/{theirs['uuid']}"))["theirDid"] == before
        seen = len(hook_a.got), len(hook_b.got)
        message = {"@type": "https://didcomm.org/basicmessage/1.0/message", "content": before}
        await acme.act(mine["contactUuid"], message)
        await bolt.act(theirs["contactUuid"], message)
        await hook_a.count(seen[0] + 1)
        await hook_b.count(seen[1] + 1)
        sides = await acme.get(f"connection/{mine['uuid']}"), await bolt.get(f"connection/{theirs['uuid']}")
        assert sides[0]["myDid"] == sides[1]["theirDid"]
    assert all(hook.json()["authenticated"] for hook in (*hook_a.got, *hook_b.got))


async def test_a_connection_that_is_hung_up_is_over_on_both_sides(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    mine, theirs = await connected(stack, pair)
    await acme.post(f"connection/{mine['uuid']}/hangup", {}, 200)

    async def over() -> bool:
        return bool((await bolt.get(f"connection/{theirs['uuid']}"))["state"] == "abandoned")

    await stack.eventually(over)
    body = {"type": "DIDCOMM", "to": theirs["contactUuid"], "data": {"message": {"@type": "t"}}}
    answer = await bolt.call("POST", "action", body)
    assert (answer.status, answer.json()["type"]) == (409, "urn:tnt:problem:connection-ended")


async def test_pings_and_questions_are_answered(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, _ = pair
    hook = await acme.webhook("ping_response|disclos")
    mine, _ = await connected(stack, pair)
    sov = "did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/"
    for question in (
        {"@type": f"{sov}trust_ping/1.0/ping"},
        {"@type": "https://didcomm.org/discover-features/1.0/query", "query": "https://didcomm.org/didexchange/*"},
        {
            "@type": "https://didcomm.org/discover-features/2.0/queries",
            "queries": [{"feature-type": "protocol", "match": "*trust*"}, {"feature-type": "protocol", "match": "*"}],
        },
    ):
        await acme.act(mine["contactUuid"], question)
    await hook.count(3)
    answers = {hook.json()["type"]: hook.json()["message"] for hook in hook.got}
    assert f"{sov}trust_ping/1.0/ping_response" in answers
    disclosed = answers["https://didcomm.org/discover-features/1.0/disclose"]["protocols"]
    assert {entry["pid"] for entry in disclosed} == {DID_EXCHANGE_1_0, DID_EXCHANGE_1_1}
    found = answers["https://didcomm.org/discover-features/2.0/disclosures"]["disclosures"]
    assert "https://didcomm.org/trust_ping/1.0" in {entry["id"] for entry in found}


async def test_the_tenants_system_is_told(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    told_a, told_b = Receiver(), Receiver()
    for client, receiver in ((acme, told_a), (bolt, told_b)):
        await receiver.start()
        client.receivers.append(receiver)
        await client.post("settings/TASK_WEBHOOK", {"setting": [{"url": receiver.url, "match": "^connection$"}]}, 200)
    mine, theirs = await connected(stack, pair)
    for receiver, connection in ((told_a, mine), (told_b, theirs)):
        event = (await receiver.until(lambda hook: True)).json()
        assert (event["type"], event["uuid"], event["status"]) == ("connection", connection["uuid"], "completed")
        assert event["contactUuid"] == connection["contactUuid"]
        assert len(receiver.got) == 1


async def test_a_connection_is_reused_for_another_invitation_by_the_same_did(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    hook = await bolt.webhook("handshake-reuse-accepted")
    first = await acme.post("invitation", {"publicDid": True})
    assert first["invitation"]["services"] == [acme.identity["did"]]
    contact = await bolt.post("contact", {"invitation": first["invitation"]})
    await completed(bolt, contact["connectionUuid"])
    second = await acme.post("invitation", {"publicDid": True})
    again = await bolt.post("contact", {"invitationUrl": second["invitationUrl"]}, 200)
    assert (again["uuid"], again["connectionUuid"], again["reused"]) == (
        contact["uuid"],
        contact["connectionUuid"],
        True,
    )
    accepted = (await hook.until(lambda hook: True)).json()["message"]
    assert accepted["~thread"]["pthid"] == second["invitation"]["@id"]
    assert len((await acme.get("connection"))["hits"]) == 1
    assert (await acme.get(f"invitation/{second['uuid']}"))["status"] == "USED"


async def test_a_request_inside_an_invitation_is_received_once_connected(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    hook_a, hook_b = await acme.webhook("answer"), await bolt.webhook("offer")
    offer = {"@type": "https://example.org/trade/1.0/offer", "price": 3}
    invited = await acme.post("invitation", {"requests": [offer]})
    contact = await bolt.post("contact", {"invitation": invited["invitation"]})
    got = (await hook_b.until(lambda hook: True)).json()
    assert (got["message"]["price"], got["contactUuid"], got["authenticated"]) == (3, contact["uuid"], False)
    answer = {"@type": "https://example.org/trade/1.0/answer"}
    await bolt.post(f"action/{got['actionUuid']}", {"data": {"message": answer}}, 200)
    answered = (await hook_a.until(lambda hook: True)).json()
    assert answered["message"]["~thread"]["thid"] == got["message"]["~thread"]["thid"]
    assert len(hook_b.got) == 1


async def test_without_from_the_connected_identity_speaks(pair: tuple[Client, Client]) -> None:
    """Not the default one, which is not connected with the contact; with two others somebody has to choose."""
    acme, bolt = pair
    one, two = [await acme.post("identity", {"displayName": name}) for name in ("Sales", "Orders")]
    did = bolt.identity["did"]
    contact = await acme.post("contact", {"contact": {"did": did}, "identityId": one["uuid"]})
    await completed(acme, contact["connectionUuid"])
    message = {"@type": "https://didcomm.org/basicmessage/1.0/message", "content": "from sales"}
    for to in (contact["uuid"], did):
        sent = await acme.post("action", {"type": "DIDCOMM", "to": to, "data": {"message": message}})
        assert (sent["from"], sent["connectionUuid"]) == (one["did"], contact["connectionUuid"])
    await acme.post("contact", {"contact": {"did": did}, "identityId": two["uuid"]})
    answer = await acme.call("POST", "action", {"type": "DIDCOMM", "to": contact["uuid"], "data": {"message": message}})
    assert_problem(answer, 409, "not-connected")


async def test_two_identities_have_a_connection_each_with_one_contact(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    other = await acme.post("identity", {"displayName": "Sales"})
    first = await acme.post("contact", {"contact": {"did": bolt.identity["did"]}})
    second = await acme.post("contact", {"contact": {"did": bolt.identity["did"]}, "identityId": other["uuid"]})
    assert first["uuid"] == second["uuid"]
    assert first["connectionUuid"] != second["connectionUuid"]
    for made in (first, second):
        await completed(acme, made["connectionUuid"])
    again = await acme.call("POST", "contact", {"contact": {"did": bolt.identity["did"]}})
    assert (again.status, again.json()["type"]) == (409, "urn:tnt:problem:contact-exists")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"form": "letter"}, "form-unsupported"),
        ({"form": "connections/1", "requests": [{"@type": "t"}]}, "form-unsupported"),
        ({"form": "connections/1", "publicDid": True}, "form-unsupported"),
        ({"handshakeProtocols": ["https://didcomm.org/didexchange/9.9"]}, "handshake-protocols-invalid"),
        ({"requests": ["hello"]}, "requests-invalid"),
        ({"requests": [{"no": "type"}]}, "message-invalid"),
        ({"multiUse": "yes"}, "flag-invalid"),
        ({"expiresAt": "tomorrow"}, "time-invalid"),
    ],
)
async def test_an_invitation_that_cannot_be_made_says_why(stack: Stack, body: dict[str, Any], code: str) -> None:
    acme = await stack.register("Acme")
    answer = await acme.call("POST", "invitation", body)
    assert (answer.status, answer.json()["type"]) == (400, f"urn:tnt:problem:{code}")
