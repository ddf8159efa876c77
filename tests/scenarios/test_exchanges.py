"""Issue Credential and Present Proof between two tenants, in attachments of a format that is passed through."""

from typing import Any

import orjson
import pytest

from tests.stack import Client, Stack
from tntcore.dids.document import Version
from tntcore.messaging.message import Message
from tntcore.protocols import issue_credential


async def connected(stack: Stack, version: Version) -> tuple[Client, Client, Any, Any]:
    one, other = await stack.register("Issuer"), await stack.register("Holder")
    sides = await stack.connect(one, other, version)
    return one, other, *sides


async def state(stack: Stack, client: Client, uuid: str, wanted: str) -> Any:
    """The exchange, once it is in that state."""

    async def check() -> Any:
        exchange = await client.get(f"exchange/{uuid}")
        return exchange if exchange["state"] == wanted else None

    return await stack.eventually(check)


async def only(stack: Stack, client: Client, wanted: str) -> Any:
    """The client's only exchange, once it is in that state."""

    async def check() -> Any:
        hits = (await client.get("exchange"))["hits"]
        return hits[0] if len(hits) == 1 and hits[0]["state"] == wanted else None

    return await stack.eventually(check)


@pytest.mark.parametrize(("version", "protocol"), [("v1", "1.0"), ("v1", "2.0"), ("v2", "2.0"), ("v2", "3.0")])
async def test_a_credential_is_offered_requested_issued_and_stored(
    stack: Stack, version: Version, protocol: str
) -> None:
    issuer, holder, mine, _ = await connected(stack, version)
    begun = await issuer.post(
        "credential",
        {
            "command": "offer",
            "to": mine.contact_uuid,
            "format": "plain",
            "protocol": f"issue-credential/{protocol}",
            "data": {"attachment": {"grade": "A"}},
            "attributes": [{"name": "photo", "value": "aGk=", "mimeType": "image/png"}],
            "comment": "yours",
        },
    )
    assert (begun["state"], begun["role"], begun["status"]) == ("offer-sent", "issuer", "ACTIVE")
    offered = await only(stack, holder, "offer-received")
    assert (offered["status"], offered["role"]) == ("WAITING", "holder")
    answer = await holder.call("POST", f"exchange/{offered['uuid']}/accept", {"data": {"attachment": {"wish": 1}}})
    assert answer.status == 200, answer.body
    assert answer.json()["state"] == "request-sent"
    await state(stack, issuer, begun["uuid"], "request-received")
    await issuer.post(f"exchange/{begun['uuid']}/accept", {"data": {"attachment": {"diploma": True}}}, 200)
    await state(stack, holder, offered["uuid"], "credential-received")
    await holder.post(f"exchange/{offered['uuid']}/accept", None, 200)
    done = await state(stack, issuer, begun["uuid"], "done")
    assert done["status"] == "DONE"
    held = (await holder.get("credential"))["hits"]
    assert [(one["status"], one["verified"]) for one in held] == [("HELD", False)]
    assert (await holder.get(f"credential/{held[0]['uuid']}"))["credential"] == {"diploma": True}
    issued = (await issuer.get("credential"))["hits"]
    assert [one["status"] for one in issued] == ["ISSUED"]
    for client, exchange in ((issuer, done), (holder, await holder.get(f"exchange/{offered['uuid']}"))):
        assert await replayed(client, exchange) == exchange["state"]


async def replayed(client: Client, exchange: Any) -> str:
    """The state to which the stored messages of an exchange lead, by its protocol's table."""
    state = "start"
    messages = (await client.get(f"action/{exchange['uuid']}"))["messages"]
    assert len(messages) == 4
    for uuid in messages:
        stored = await client.get(f"message/{uuid}")
        step = issue_credential.read_step(Message.read(orjson.dumps(stored["message"])))
        assert step is not None
        event = issue_credential.event(step.kind, received=stored["direction"] == "IN")
        state = issue_credential.move(exchange["role"], state, event)
    return state


async def test_a_step_out_of_turn_is_refused_and_changes_nothing(stack: Stack) -> None:
    issuer, holder, mine, _ = await connected(stack, "v1")
    begun = await issuer.post("credential", {"to": mine.contact_uuid, "format": "plain", "data": {"attachment": {}}})
    answer = await issuer.call("POST", f"exchange/{begun['uuid']}/accept", {})
    assert (answer.status, answer.json()["type"]) == (409, "urn:tnt:problem:out-of-turn")
    await only(stack, holder, "offer-received")
    assert (await issuer.get(f"exchange/{begun['uuid']}"))["state"] == "offer-sent"


async def test_a_tenant_may_write_the_messages_itself(stack: Stack) -> None:
    issuer, holder, mine, _ = await connected(stack, "v1")
    offer = {
        "@type": "https://didcomm.org/issue-credential/1.0/offer-credential",
        "offers~attach": [{"@id": "1", "data": {"json": {"some": "thing"}}}],
    }
    action = await issuer.act(mine.contact_uuid, offer)
    offered = await only(stack, holder, "offer-received")
    assert (await issuer.get(f"exchange/{action['uuid']}"))["state"] == "offer-sent"
    request = {
        "@type": "https://didcomm.org/issue-credential/1.0/request-credential",
        "requests~attach": [{"@id": "1", "data": {"json": {"please": "issue"}}}],
    }
    await holder.post(f"action/{offered['uuid']}", {"command": "message", "data": {"message": request}}, 200)
    assert (await holder.get(f"exchange/{offered['uuid']}"))["state"] == "request-sent"
    await state(stack, issuer, action["uuid"], "request-received")


async def test_a_rejection_ends_it_on_both_sides(stack: Stack) -> None:
    issuer, holder, mine, _ = await connected(stack, "v1")
    begun = await issuer.post("credential", {"to": mine.contact_uuid, "format": "plain", "data": {"attachment": {}}})
    offered = await only(stack, holder, "offer-received")
    await holder.post(f"exchange/{offered['uuid']}/reject", {"reason": "No, thank you."}, 200)
    ended = await state(stack, issuer, begun["uuid"], "abandoned")
    assert (ended["status"], ended["error"]) == ("ABANDONED", "issuance-abandoned: No, thank you.")
    assert (await issuer.get(f"action/{begun['uuid']}"))["status"] == "ERROR"


async def test_a_credential_that_is_rejected_is_not_kept_as_one_that_waits(stack: Stack) -> None:
    issuer, holder, mine, _ = await connected(stack, "v1")
    data: dict[str, Any] = {"attachment": {}}
    begun = await issuer.post("credential", {"to": mine.contact_uuid, "format": "plain", "data": data})
    offered = await only(stack, holder, "offer-received")
    await holder.post(f"exchange/{offered['uuid']}/accept", {"data": data}, 200)
    await state(stack, issuer, begun["uuid"], "request-received")
    await issuer.post(f"exchange/{begun['uuid']}/accept", {"data": data}, 200)
    await state(stack, holder, offered["uuid"], "credential-received")
    assert [one["status"] for one in (await holder.get("credential"))["hits"]] == ["RECEIVED"]
    await holder.post(f"exchange/{offered['uuid']}/reject", {}, 200)
    assert [one["status"] for one in (await holder.get("credential"))["hits"]] == ["REJECTED"]
    await state(stack, issuer, begun["uuid"], "abandoned")
    assert [one["status"] for one in (await issuer.get("credential"))["hits"]] == ["ISSUED"]


@pytest.mark.parametrize("by_action", [False, True])
async def test_a_presentation_that_is_rejected_is_so_on_both_sides(stack: Stack, by_action: bool) -> None:
    verifier, prover, mine, _ = await connected(stack, "v1")
    data = {"attachment": {"show": "it"}}
    begun = await verifier.post("proof-request", {"to": mine.contact_uuid, "format": "plain", "data": data})
    asked = await only(stack, prover, "request-received")
    await prover.post(f"exchange/{asked['uuid']}/accept", {"data": data}, 200)
    await state(stack, verifier, begun["uuid"], "presentation-received")
    if by_action:
        report = {"@type": "https://didcomm.org/present-proof/2.0/problem-report", "description": {"code": "abandoned"}}
        await verifier.post(f"action/{begun['uuid']}", {"data": {"message": report}}, 200)
    else:
        await verifier.post(f"exchange/{begun['uuid']}/reject", {}, 200)
    await state(stack, prover, asked["uuid"], "abandoned")
    for client in (verifier, prover):
        assert [one["status"] for one in (await client.get("presentation"))["hits"]] == ["REJECTED"]


async def test_an_offer_inside_an_invitation(stack: Stack) -> None:
    issuer, holder = await stack.register("Issuer"), await stack.register("Holder")
    invited = await issuer.post(
        "credential",
        {"invitation": {"label": "Come"}, "format": "plain", "data": {"attachment": {"grade": "A"}}},
    )
    await holder.post("contact", {"invitationUrl": invited["invitationUrl"]})
    offered = await only(stack, holder, "offer-received")
    assert offered["status"] == "WAITING"
    await holder.post(f"exchange/{offered['uuid']}/accept", {"data": {"attachment": {"wish": 1}}}, 200)
    asked = await only(stack, issuer, "request-received")
    assert set(asked["messages"]) == {"offer", "request"}
    await issuer.post(f"exchange/{asked['uuid']}/accept", {"data": {"attachment": {"diploma": True}}}, 200)
    await state(stack, holder, offered["uuid"], "credential-received")


@pytest.mark.parametrize(("version", "protocol"), [("v1", "1.0"), ("v1", "2.0"), ("v2", "2.0"), ("v2", "3.0")])
async def test_a_proof_is_asked_for_shown_and_acknowledged(stack: Stack, version: Version, protocol: str) -> None:
    verifier, prover, mine, _ = await connected(stack, version)
    begun = await verifier.post(
        "proof-request",
        {
            "to": mine.contact_uuid,
            "format": "plain",
            "protocol": f"present-proof/{protocol}",
            "data": {"attachment": {"show": "it"}},
        },
    )
    asked = await only(stack, prover, "request-received")
    await prover.post(f"exchange/{asked['uuid']}/accept", {"data": {"attachment": {"here": "it is"}}}, 200)
    shown = await state(stack, verifier, begun["uuid"], "presentation-received")
    assert shown["status"] == "WAITING"
    received = await verifier.get(f"presentation/{shown['presentationUuids'][0]}")
    assert (received["status"], received["verified"]) == ("UNDECIDED", False)
    await verifier.post(f"exchange/{begun['uuid']}/accept", {}, 200)
    await state(stack, prover, asked["uuid"], "done")
    assert [one["status"] for one in (await prover.get("presentation"))["hits"]] == ["ACCEPTED"]
    assert [one["uuid"] for one in (await verifier.get("proof-request"))["hits"]] == [begun["uuid"]]
