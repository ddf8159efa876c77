"""RFC 0593: what is proposed, offered, requested, issued and received, by honest parties and others."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any, cast

import orjson
import pytest
from openvc.status import build_status_list_credential, new_bitstring, set_status_bit

from tests.unit.credentials.ld import CITIZENSHIP, NOW, V1, V2, Dids, Key, credential, vectors
from tntcore.credentials.formats import (
    Check,
    FormatError,
    HeldCredential,
    Issuing,
    Party,
    ReceivedCredential,
    Verification,
)
from tntcore.credentials.ld_proof import DETAIL, ISSUED, LdProof
from tntcore.credentials.linked_data import LinkedData
from tntcore.egress import EgressError
from tntcore.errors import DidError, Problem
from tntcore.storage.repository import Repository
from tntcore.workers import Workers

NO_RECORDS = cast(Repository, None)
SUITES = ["Ed25519Signature2018", "Ed25519Signature2020", "eddsa-rdfc-2022", "eddsa-jcs-2022"]
EXAMPLES = {"@vocab": "https://example.org/"}
LIST = "https://issuer.example/status/1"
SCHEMA = "https://issuer.example/schema.json"


def party(key: Key) -> Party:
    return Party(key.did, key, NO_RECORDS)


ISSUER, HOLDER, OTHER = (party(Key(seed)) for seed in (1, 2, 3))


class World:
    """A format with made-up DIDs and web."""

    def __init__(self, workers: Workers) -> None:
        self.dids = Dids()
        self.web: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.now = NOW
        self.data = LinkedData(workers, self.dids.resolve, lambda: self.now)
        self.format = LdProof(self.data, self.fetch, lists=self)

    async def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        if url not in self.web:
            raise EgressError("status", "answered 404")
        return self.web[url]

    async def allocate(self, party: Party, type_: str) -> dict[str, Any]:
        return {
            "id": LIST + "#94567",
            "type": type_,
            "statusPurpose": "revocation",
            "statusListIndex": "94567",
            "statusListCredential": LIST,
        }

    async def revoke(self, party: Party, credential: Mapping[str, Any]) -> None:
        await self.publish(party, int(credential["credentialStatus"]["statusListIndex"]))

    async def publish(self, by: Party, *revoked: int, type_: str = "BitstringStatusListCredential") -> None:
        bits = new_bitstring(131_072)
        for index in revoked:
            set_status_bit(bits, index, 1)
        document = build_status_list_credential(id=LIST, issuer=by.did, status_purpose="revocation", bitstring=bits)
        await self.put(LIST, document, by)

    async def put(self, url: str, document: dict[str, Any], by: Party) -> None:
        signed = await self.data.sign(
            document, by.signer, suite="eddsa-rdfc-2022", purpose="assertionMethod", created_ms=NOW
        )
        self.web[url] = orjson.dumps(signed)

    async def exchange(self, content: dict[str, Any]) -> tuple[Issuing, Any]:
        """Offer, request, credential: as each side reads what the other sent."""
        offer = wire((await self.format.offer(ISSUER, Issuing(), content)).value)
        request = wire((await self.format.request(HOLDER, Issuing(offer=offer), None)).value)
        issuing = Issuing(offer=offer, request=request)
        return issuing, wire((await self.format.issue(ISSUER, issuing, None)).value)

    async def receive(self, issuing: Issuing, value: Any) -> ReceivedCredential:
        return await self.format.receive(HOLDER, issuing, value)


def wire(value: Any) -> Any:
    return json.loads(json.dumps(value))


@pytest.fixture
def world(workers: Workers) -> World:
    return World(workers)


def wanted(**more: Any) -> dict[str, Any]:
    """What a tenant gives, with as little as will do."""
    return {
        "@context": [V1, CITIZENSHIP],
        "type": ["VerifiableCredential", "PermanentResident"],
        "credentialSubject": {"type": "PermanentResident", "givenName": "ALICE"},
        **more,
    }


def checks(verification: Verification) -> dict[str, bool | None]:
    return {check.name: check.passed for check in verification.checks}


def named(verification: Verification, name: str) -> Check:
    assert not verification.verified
    (found,) = [check for check in verification.checks if check.name == name]
    return found


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("base", [V1, V2])
async def test_offered_requested_issued_received(world: World, suite: str, base: str) -> None:
    content = wanted(**{"@context": [base]}, type=["VerifiableCredential"], credentialSubject={})
    issuing, value = await world.exchange({"credential": content, "options": {"proofType": suite}})
    assert issuing.offer["options"]["proofPurpose"] == "assertionMethod"
    assert issuing.offer["credential"]["issuer"] == ISSUER.did
    # Other agents compare: all but the subject is settled with the offer, and all but the proof with the request.
    assert issuing.request == {
        **issuing.offer,
        "credential": {**issuing.offer["credential"], "credentialSubject": {"id": HOLDER.did}},
    }
    assert {name: item for name, item in value.items() if name != "proof"} == issuing.request["credential"]
    received = await world.receive(issuing, value)
    assert received.verification.verified, received.verification.checks
    assert checks(received.verification) == dict.fromkeys(
        ("signature", "issuer", "expiry", "request", "holder-binding"), True
    )
    assert received.held.summary == {
        "issuer": ISSUER.did,
        "subject": HOLDER.did,
        "claims": {"id": HOLDER.did},
    }
    assert (await world.format.verify(received.held)).verified


async def test_proposed_by_the_holder(world: World) -> None:
    proposal = wire((await world.format.propose(HOLDER, {"credential": wanted(issuer=ISSUER.did)})).value)
    assert proposal["credential"]["credentialSubject"]["id"] == HOLDER.did
    offer = wire((await world.format.offer(ISSUER, Issuing(proposal=proposal), None)).value)
    request = wire((await world.format.request(HOLDER, Issuing(offer=offer), None)).value)
    assert request == offer
    issuing = Issuing(proposal, offer, request)
    value = (await world.format.issue(ISSUER, issuing, None)).value
    assert (await world.receive(issuing, value)).verification.verified
    stranger = wire((await world.format.propose(HOLDER, {"credential": wanted(issuer=OTHER.did)})).value)
    with pytest.raises(FormatError, match="issuer"):
        await world.format.offer(ISSUER, Issuing(proposal=stranger), None)
    proposal["credential"]["credentialStatus"] = {"type": "None"}
    with pytest.raises(FormatError, match="status"):
        await world.format.offer(ISSUER, Issuing(proposal=proposal), None)


async def test_requested_first(world: World) -> None:
    content = {
        "credential": wanted(issuer=ISSUER.did),
        "options": {"challenge": "c", "domain": "d", "created": "2026-11-30T00:00:00Z"},
    }
    request = wire((await world.format.request(HOLDER, Issuing(), content)).value)
    value = (await world.format.issue(ISSUER, Issuing(request=request), None)).value
    assert (value["proof"]["challenge"], value["proof"]["created"]) == ("c", "2026-11-30T00:00:00Z")
    assert (await world.receive(Issuing(request=request), value)).verification.verified


async def test_formats_and_shapes(world: World) -> None:
    offer = await world.format.offer(ISSUER, Issuing(), {"credential": wanted()})
    assert offer.format == DETAIL
    assert world.format.reads("offer", offer.value)
    assert not world.format.reads("offer", {"credential": {}, "options": {"proofFormat": "jwt"}})
    value = credential(ISSUER.did)
    assert not world.format.reads("issue", value)
    assert world.format.reads("issue", {**value, "proof": {}})
    assert not world.format.reads("issue", "ey..")
    issued = await world.format.issue(ISSUER, Issuing(), {"credential": wanted()})
    assert issued.format == ISSUED


@pytest.mark.parametrize("document", vectors("acapy-1.7.0.json")[:3])
async def test_what_another_agent_issued(world: World, document: dict[str, Any]) -> None:
    verification = await world.format.verify_credential(document, "credential 0")
    assert verification.verified, verification.checks
    assert verification.required == {(name, "credential 0") for name in ("signature", "issuer", "expiry")}


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"credential": []},
        {"credential": wanted(), "options": []},
        {"credential": wanted(), "options": {"proofType": "BbsBlsSignature2020"}},
        {"credential": wanted(), "options": {"proofPurpose": "authentication"}},
        {"credential": wanted(), "options": {"challenge": 5}},
        {"credential": wanted(), "options": {"created": "yesterday"}},
        {"credential": wanted(), "options": {"unheard": "of"}},
        {"credential": wanted(), "options": {"credentialStatus": "revocable"}},
        {"credential": wanted(), "options": {"credentialStatus": {"type": "CredentialStatusList2017"}}},
        {"credential": wanted(proof={})},
        {"credential": wanted(issuer=OTHER.did)},
        {"credential": wanted(issuer=5)},
        {"credential": wanted(**{"@context": CITIZENSHIP})},
        {"credential": wanted(**{"@context": [V1, "https://unknown.example/v1"]})},
        {"credential": wanted(type="PermanentResident")},
        {"credential": wanted(credentialSubject=[])},
        {"credential": wanted(credentialSubject="did:example:alice")},
        {"credential": wanted(credentialSubject={"isAdmin": True})},
        {"credential": wanted(issuanceDate="soon")},
    ],
    ids=str,
)
async def test_what_a_tenant_cannot_offer(world: World, content: dict[str, Any]) -> None:
    with pytest.raises(Problem) as raised:
        await world.format.offer(ISSUER, Issuing(), content)
    assert (raised.value.status, raised.value.code) == (400, "credential-invalid")


async def test_the_refusal_names_the_claim_without_a_term(world: World) -> None:
    with pytest.raises(Problem) as raised:
        await world.format.offer(ISSUER, Issuing(), {"credential": wanted(credentialSubject={"isAdmin": True})})
    assert raised.value.detail.startswith("/credentialSubject/isAdmin is not a term that @context defines")


# The other side is not honest.


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("credential", {"type": ["VerifiableCredential", "PermanentResident", "Person"]}),
        ("credential", {"credentialSubject": {"id": HOLDER.did, "type": "PermanentResident", "givenName": "BOB"}}),
        ("credential", {"issuer": OTHER.did}),
        ("credential", {"expirationDate": "2100-01-01T00:00:00Z"}),
        ("credential", {"credentialStatus": {"type": "None"}}),
        ("options", {"proofType": "Ed25519Signature2018"}),
        ("options", {"credentialStatus": {"type": "StatusList2021Entry"}}),
        ("options", {"proofPurpose": "authentication"}),
    ],
    ids=str,
)
async def test_a_request_for_something_else(world: World, part: str, change: dict[str, Any]) -> None:
    issuing, _ = await world.exchange({"credential": wanted()})
    issuing.request[part].update(change)
    with pytest.raises(FormatError):
        await world.format.issue(ISSUER, issuing, None)


async def test_a_request_for_another_subject_than_was_offered(world: World) -> None:
    subject = {"id": HOLDER.did, "type": "PermanentResident", "givenName": "ALICE"}
    issuing, _ = await world.exchange({"credential": wanted(credentialSubject=subject)})
    issuing.request["credential"]["credentialSubject"]["id"] = OTHER.did
    with pytest.raises(FormatError, match="credentialSubject"):
        await world.format.issue(ISSUER, issuing, None)


async def test_options_left_open_may_be_chosen(world: World) -> None:
    issuing, _ = await world.exchange({"credential": wanted()})
    issuing.request["options"]["challenge"] = "mine"
    value = (await world.format.issue(ISSUER, issuing, None)).value
    assert value["proof"]["challenge"] == "mine"
    assert (await world.receive(issuing, value)).verification.verified


async def _reissued(world: World, value: dict[str, Any], change: dict[str, Any], by: Party = ISSUER) -> dict[str, Any]:
    document = {name: item for name, item in {**value, **change}.items() if name != "proof"}
    return await world.data.sign(
        document, by.signer, suite="Ed25519Signature2020", purpose="assertionMethod", created_ms=NOW
    )


@pytest.mark.parametrize(
    "change",
    [
        {"type": ["VerifiableCredential"]},
        {"expirationDate": "2100-01-01T00:00:00Z"},
        {"issuanceDate": "2020-01-01T00:00:00Z"},
        {"credentialStatus": {"id": "urn:x:1", "type": "BitstringStatusListEntry"}},
        {"@context": [CITIZENSHIP]},
        {"@context": [V1, "https://w3id.org/security/suites/ed25519-2020/v1"]},
    ],
    ids=str,
)
async def test_another_credential_than_was_requested(world: World, change: dict[str, Any]) -> None:
    issuing, value = await world.exchange({"credential": wanted()})
    try:
        forged = await _reissued(world, value, change)
    except FormatError:
        forged = {**value, **change}
    try:
        received = await world.receive(issuing, forged)
    except FormatError:
        return
    assert named(received.verification, "request").passed is False


async def test_a_credential_about_somebody_else(world: World) -> None:
    issuing, value = await world.exchange({"credential": wanted()})
    forged = await _reissued(world, value, {"credentialSubject": {**value["credentialSubject"], "id": OTHER.did}})
    received = await world.receive(issuing, forged)
    assert named(received.verification, "holder-binding").passed is False
    assert named(received.verification, "request").passed is False


async def test_a_credential_that_was_asked_for_about_somebody_else(world: World) -> None:
    subject = {"id": "urn:product:7", "type": "PermanentResident", "givenName": "ALICE"}
    issuing, value = await world.exchange({"credential": wanted(credentialSubject=subject)})
    received = await world.receive(issuing, value)
    assert received.verification.verified
    assert "holder-binding" not in checks(received.verification)


async def test_a_credential_by_another_than_its_issuer(world: World) -> None:
    issuing, value = await world.exchange({"credential": wanted()})
    forged = await _reissued(world, value, {}, by=OTHER)
    verification = (await world.receive(issuing, forged)).verification
    assert named(verification, "issuer").passed is False
    assert checks(verification)["signature"] is True
    as_object = await _reissued(world, value, {"issuer": {"id": ISSUER.did}})
    assert (await world.receive(issuing, as_object)).verification.verified
    as_object = await _reissued(world, value, {"issuer": {"id": ISSUER.did}}, by=OTHER)
    assert named((await world.receive(issuing, as_object)).verification, "issuer").passed is False


async def test_an_altered_credential(world: World) -> None:
    issuing, value = await world.exchange({"credential": wanted()})
    value["credentialSubject"]["givenName"] = "MALLORY"
    verification = (await world.receive(issuing, value)).verification
    assert named(verification, "signature").passed is False
    assert named(verification, "issuer").passed is None


async def test_what_is_no_credential(world: World) -> None:
    issuing, value = await world.exchange({"credential": wanted()})
    broken: Any
    for broken in (None, "text", [], {}, {**value, "type": []}, {**value, "credentialSubject": None}):
        with pytest.raises(FormatError):
            await world.receive(issuing, broken)
    assert not (await world.receive(Issuing(), value)).verification.verified


async def test_dates(world: World) -> None:
    content = {"credential": wanted(expirationDate="2026-12-02T00:00:00Z")}
    issuing, value = await world.exchange(content)
    received = await world.receive(issuing, value)
    assert received.verification.verified
    assert received.held.expires_at == NOW + 86_400_000
    world.now += 86_400_000
    assert named(await world.format.verify(received.held), "expiry").passed is False


async def test_an_issuer_that_cannot_be_resolved_just_now(world: World) -> None:
    key = Key(7, "did:web:issuer.example", "key-1")
    world.dids.put(key)
    value = await world.data.sign(
        credential(key.did), key, suite="Ed25519Signature2020", purpose="assertionMethod", created_ms=NOW
    )
    assert (await world.format.verify_credential(value)).verified
    world.dids.documents[key.did] = DidError("unresolvable", "no answer")
    with pytest.raises(DidError):
        await world.format.verify_credential(value)


@pytest.mark.parametrize("type_", ["BitstringStatusListEntry", "StatusList2021Entry"])
async def test_a_status(world: World, type_: str) -> None:
    content = {"credential": wanted(), "options": {"credentialStatus": {"type": type_}}}
    issuing, value = await world.exchange(content)
    assert issuing.offer["credential"]["credentialStatus"] == value["credentialStatus"]
    unknown = (await world.receive(issuing, value)).verification
    assert named(unknown, "status").passed is None
    await world.publish(ISSUER)
    held = (await world.receive(issuing, value)).held
    assert (await world.format.verify(held)).verified
    await world.publish(ISSUER, 94567)
    revoked = named(await world.format.verify(held), "status")
    assert revoked.passed is False
    assert "revoked" in revoked.detail
    await world.publish(OTHER)
    assert named(await world.format.verify(held), "status").passed is None
    await world.publish(ISSUER)
    world.web[LIST] = world.web[LIST].replace(ISSUER.did.encode(), OTHER.did.encode(), 1)
    assert named(await world.format.verify(held), "status").passed is None
    world.web[LIST] = b"eyJh.e30.x"
    assert named(await world.format.verify(held), "status").passed is None


async def test_a_status_of_a_kind_that_is_not_known(world: World) -> None:
    value = await _reissued(
        world,
        credential(ISSUER.did),
        {
            "@context": [V1, CITIZENSHIP, {"@vocab": "https://e.example/"}],
            "credentialStatus": {"id": "urn:x:1", "type": "Sun"},
        },
    )
    assert named(await world.format.verify_credential(value), "status").passed is None


@pytest.mark.parametrize(("base", "type_"), [(V2, "JsonSchema"), (V1, "JsonSchemaValidator2018")])
async def test_a_schema(world: World, base: str, type_: str) -> None:
    value = await _reissued(
        world,
        credential(ISSUER.did),
        {
            "@context": [base, EXAMPLES],
            "type": ["VerifiableCredential"],
            "credentialSubject": {"id": HOLDER.did, "colour": "red"},
            "credentialSchema": {"id": SCHEMA, "type": type_},
        },
    )
    assert named(await world.format.verify_credential(value), "schema").passed is None
    for const, passed in (("red", True), ("blue", False)):
        schema = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "properties": {"credentialSubject": {"properties": {"colour": {"const": const}}}},
        }
        world.web[SCHEMA] = orjson.dumps(schema)
        assert checks(await world.format.verify_credential(value))["schema"] is passed


async def test_nobodys_host_is_asked_for_what_nobody_signed(world: World) -> None:
    issuing, value = await world.exchange(
        {"credential": wanted(), "options": {"credentialStatus": {"type": "BitstringStatusListEntry"}}}
    )
    world.asked.clear()
    forged = copy.deepcopy(value)
    forged["credentialStatus"]["statusListCredential"] = "https://victim.example/"
    assert not (await world.receive(issuing, forged)).verification.verified
    by_other = await _reissued(world, value, {}, by=OTHER)
    assert not (await world.format.verify(HeldCredential("", ISSUED, by_other))).verified
    assert world.asked == []
