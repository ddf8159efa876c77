"""Presentations by Presentation Exchange: asked for, shown, verified; and those of ACA-Py."""

import json
import uuid
from typing import Any, cast

import pytest

from tests.unit.credentials.dif.world import (
    ACAPY,
    CREDENTIAL,
    DOMAIN,
    HOLDER,
    ISSUER,
    LD,
    NOW,
    OTHER,
    OUTER,
    VERIFIER,
    World,
    descriptor,
    failed,
    made,
    party,
)
from tests.unit.credentials.ld import Key
from tntcore.credentials.formats import FormatError, HeldCredential
from tntcore.credentials.proof_suites import Suite
from tntcore.errors import Problem


@pytest.mark.parametrize("name", sorted(ACAPY))
async def test_presentations_of_acapy_verify_against_its_requests(world: World, name: str) -> None:
    verified = await world.verify(ACAPY[name]["request"], ACAPY[name]["presentation"])
    assert verified.verification.verified, verified.verification.checks
    assert verified.summary["claims"]["citizenship_input_1"]["familyName"] == "SMITH"


async def test_a_proposal_has_an_id(world: World) -> None:
    proposals = [
        (await world.dif.propose(party(HOLDER), {**named, "input_descriptors": [descriptor()]})).value
        for named in ({}, {"id": "mine"})
    ]
    assert uuid.UUID(proposals[0]["id"]).version == 4
    assert proposals[1]["id"] == "mine"


async def test_a_proposal_of_acapy_becomes_a_request_with_a_challenge_of_ours(world: World) -> None:
    proposal = {**ACAPY["proposal"]["proposal"], "options": {"challenge": "chosen-by-the-prover", "domain": "its"}}
    request = (await world.dif.request(party(VERIFIER), proposal, None)).value
    assert uuid.UUID(request["options"]["challenge"]).version == 4
    assert set(request["options"]) == {"challenge"}
    presentation = await world.present(request, await world.document())
    assert (await world.verify(request, presentation)).verification.verified


@pytest.mark.parametrize("suite", ["Ed25519Signature2018", "Ed25519Signature2020", "eddsa-rdfc-2022", "eddsa-jcs-2022"])
async def test_a_credential_is_asked_for_shown_and_verified(world: World, suite: Suite) -> None:
    request = await world.request()
    held = await world.document(suite=suite)
    (candidate,) = await world.dif.candidates(request, [held, await world.document(familyName="JONES")])
    assert (candidate.name, candidate.credentials, candidate.required) == ("resident", [held.uuid], True)
    presentation = await world.present(request, held)
    assert presentation["proof"]["challenge"] == request["options"]["challenge"]
    assert presentation["proof"]["domain"] == DOMAIN
    assert presentation["proof"].get("cryptosuite", presentation["proof"]["type"]) == suite
    assert presentation["@context"][:2] == [
        "https://www.w3.org/2018/credentials/v1",
        "https://identity.foundation/presentation-exchange/submission/v1",
    ]
    verified = await world.verify(request, presentation)
    assert verified.verification.verified, verified.verification.checks
    assert made(verified.verification) >= OUTER | CREDENTIAL
    assert verified.verification.required >= OUTER | CREDENTIAL
    assert verified.summary["claims"]["resident"]["familyName"] == "SMITH"
    assert verified.summary["credentials"][0]["issuer"] == ISSUER.did


async def test_a_jwt_is_asked_for_shown_and_verified(world: World) -> None:
    request = await world.request(format={"jwt_vp": {"alg": ["EdDSA"]}, "jwt_vc": {"alg": ["EdDSA"]}})
    held = await world.token()
    draft = await world.dif.present(party(HOLDER), request, [await world.document(), held], None)
    assert (draft.format, draft.mime_type) == ("dif/presentation-exchange/submission@v1.0", "application/jwt")
    assert world.dif.reads("present", draft.value)
    verified = await world.verify(request, draft.value)
    assert verified.verification.verified, verified.verification.checks
    assert made(verified.verification) >= OUTER | CREDENTIAL | {("expiry", "")}
    assert verified.summary["claims"]["resident"]["familyName"] == "SMITH"


async def test_both_kinds_together_are_shown_as_a_jwt_where_that_is_allowed(world: World) -> None:
    asked = (descriptor(), descriptor("second", "JONES"))
    held = (await world.document(), await world.token(familyName="JONES"))
    request = await world.request(*asked)
    presentation = await world.present(request, *held)
    assert isinstance(presentation, str)
    assert (await world.verify(request, presentation)).verification.verified
    only = await world.request(
        *asked, format={"ldp_vp": {"proof_type": ["Ed25519Signature2018"]}, "ldp_vc": {}, "jwt_vc": {}}
    )
    with pytest.raises(Problem, match="JSON-LD"):
        await world.present(only, *held)


async def test_the_suite_that_is_asked_for(world: World) -> None:
    request = await world.request(format={"ldp_vp": {"proof_type": ["Ed25519Signature2020"]}})
    presentation = await world.present(request, await world.document())
    assert presentation["proof"]["type"] == "Ed25519Signature2020"
    assert (await world.verify(request, presentation)).verification.verified
    # Nothing less than what was asked for, and what ACA-Py does.
    assert (await world.verify(request, await world.sign(presentation, request))).verification.verified
    assert failed(await world.verify(_other_form(request), presentation)) == {("request", "")}
    unknown = await world.request(format={"ldp_vp": {"proof_type": ["BbsBlsSignature2020"]}})
    with pytest.raises(FormatError):
        await world.present(unknown, await world.document())


def _other_form(request: dict[str, Any]) -> dict[str, Any]:
    definition = {**request["presentation_definition"], "format": {"jwt_vp": {}, "ldp_vc": {}}}
    return {**request, "presentation_definition": definition}


async def test_a_choice_of_the_tenant(world: World) -> None:
    request = await world.request()
    first, second = await world.document(gender="x"), await world.document(gender="y")
    chosen = await world.present(request, first, second, chosen={"resident": second.uuid})
    assert chosen["verifiableCredential"] == [second.value]
    wrong = await world.document(familyName="JONES")
    for choice in ({"resident": wrong.uuid}, {"resident": "no such"}, {"other": first.uuid}, {"resident": ["x"]}):
        with pytest.raises(Problem, match="choice-invalid"):
            await world.present(request, first, wrong, chosen=choice)


async def test_one_about_nobody_is_not_shown_where_one_about_the_holder_is_held(world: World) -> None:
    """A verifier takes nothing that is not about whoever shows it, so it is no choice."""
    request = await world.request()
    signed = await world.document()
    anonymous = {name: value for name, value in signed.value.items() if name != "proof"}
    anonymous["credentialSubject"] = {"type": "PermanentResident", "familyName": "SMITH"}
    value = await world.linked_data.sign(
        anonymous, ISSUER, suite="Ed25519Signature2018", purpose="assertionMethod", created_ms=NOW
    )
    nobodys = HeldCredential("nobodys", LD, value)
    presentation = await world.present(request, nobodys, signed)
    assert (await world.verify(request, presentation)).verification.verified
    with pytest.raises(Problem, match="nothing-to-present"):
        await world.present(request, nobodys)


async def test_a_wallet_that_shows_all_that_it_has(world: World) -> None:
    """ACA-Py shows every credential that matches, each with an entry of the same descriptor."""
    request = await world.request()
    first, second = await world.document(gender="x"), await world.document(gender="y")
    presentation = await world.present(request, first)
    presentation["verifiableCredential"] = [first.value, second.value]
    entries = [{"id": "resident", "format": "ldp_vp", "path": f"$.verifiableCredential[{n}]"} for n in (0, 1)]
    presentation["presentation_submission"]["descriptor_map"] = entries
    verified = await world.verify(request, await world.sign(presentation, request))
    assert verified.verification.verified, verified.verification.checks
    # Another, about somebody else, it leaves out, but not its entry.
    entries.append({"id": "resident", "format": "ldp_vp", "path": "$.verifiableCredential[2]"})
    verified = await world.verify(request, await world.sign(presentation, request))
    assert verified.verification.verified, verified.verification.checks
    presentation["presentation_submission"]["descriptor_map"] = entries[2:]
    assert failed(await world.verify(request, await world.sign(presentation, request))) == {("request", "")}
    presentation["presentation_submission"]["descriptor_map"] = entries
    requirements = [{"rule": "pick", "from": "A", "count": 1}]
    request = await world.request(descriptor(group=["A"]), submission_requirements=requirements)
    presentation["presentation_submission"]["definition_id"] = request["presentation_definition"]["id"]
    verified = await world.verify(request, await world.sign(presentation, request))
    assert verified.verification.verified, verified.verification.checks


async def test_one_of_several_things_is_enough_if_that_is_asked(world: World) -> None:
    asked = (descriptor("a", group=["A"]), descriptor("b", "JONES", group=["A"]))
    request = await world.request(*asked, submission_requirements=[{"rule": "pick", "from": "A", "count": 1}])
    held = await world.document(familyName="JONES")
    assert [each.required for each in await world.dif.candidates(request, [held])] == [False, False]
    presentation = await world.present(request, held)
    assert [entry["id"] for entry in presentation["presentation_submission"]["descriptor_map"]] == ["b"]
    assert (await world.verify(request, presentation)).verification.verified


async def test_nothing_that_would_do(world: World) -> None:
    request = await world.request()
    with pytest.raises(Problem, match="nothing-to-present"):
        await world.present(request)
    with pytest.raises(Problem, match="resident"):
        await world.present(request, await world.document(familyName="JONES"))
    expired = await world.document()
    expired = HeldCredential(expired.uuid, expired.format, expired.value, expires_at=NOW - 1)
    with pytest.raises(Problem, match="nothing-to-present"):
        await world.present(request, expired)
    with pytest.raises(Problem, match="nothing-to-present"):
        await world.present(request, HeldCredential("1", "anoncreds/credential@v1.0", (await world.document()).value))


async def test_a_credential_of_another_identity_is_not_shown_by_this_one(world: World) -> None:
    request = await world.request()
    held = await world.document(holder=OTHER.did)
    assert (await world.dif.candidates(request, [held]))[0].credentials == [held.uuid]
    with pytest.raises(Problem, match="about another DID than the presenting identity"):
        await world.present(request, held)
    with pytest.raises(Problem, match="about another DID than the presenting identity"):
        await world.present(request, held, chosen={"resident": held.uuid})
    assert (await world.verify(request, await world.present(request, held, holder=OTHER))).verification.verified


async def test_a_credential_about_the_did_key_of_the_identitys_key(world: World) -> None:
    peer = Key(2, "did:example:peer", "key-1")
    world.dids.put(peer)
    request = await world.request()
    for held in (await world.document(), await world.token()):
        presentation = await world.present(request, held, holder=peer)
        verified = await world.verify(request, presentation)
        assert verified.verification.verified, verified.verification.checks


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"presentation_definition": {"input_descriptors": []}},
        {"presentation_definition": {"input_descriptors": [descriptor()]}, "options": {"challenge": "1234"}},
        {
            "presentation_definition": {"input_descriptors": [descriptor()]},
            "options": {"challenge": str(uuid.UUID(int=1))},
        },
        {"presentation_definition": {"input_descriptors": [descriptor()]}, "options": {"domain": ""}},
        {"presentation_definition": {"input_descriptors": [descriptor()]}, "options": []},
    ],
)
async def test_requests_that_cannot_be_made(world: World, content: dict[str, Any]) -> None:
    with pytest.raises(Problem) as caught:
        await world.dif.request(party(VERIFIER), None, content)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "request_",
    [
        None,
        [],
        {},
        {"presentation_definition": {"input_descriptors": [{"id": str(n)} for n in range(1_000)]}},
        {"presentation_definition": {"input_descriptors": [descriptor()]}, "options": "x"},
        {"presentation_definition": {"input_descriptors": [descriptor()]}, "options": {"challenge": {}}},
        {"presentation_definition": {"input_descriptors": [descriptor()]}, "options": {"domain": "x" * 5_000}},
        {"presentation_definition": {"input_descriptors": [
            {"id": "a", "constraints": {"fields": [{"path": ["$..*..*..*..*"]}]}}
        ]}},
        {"presentation_definition": {"input_descriptors": [
            {"id": "a", "constraints": {"fields": [{"path": ["$.a"], "filter": {"pattern": "(?<!a)b"}}]}}
        ]}},
    ],
)  # fmt: skip
async def test_requests_of_strangers_that_cannot_be_worked_with(world: World, request_: Any) -> None:
    with pytest.raises(FormatError):
        await world.dif.candidates(request_, [])
    with pytest.raises(FormatError):
        await world.dif.present(party(HOLDER), request_, [], None)


async def test_an_old_challenge(world: World) -> None:
    held = (await world.document(), await world.token())
    for one in held:
        old = await world.request(options={})
        presentation = await world.present(old, one)
        assert (await world.verify(old, presentation)).verification.verified
        assert ("challenge", "") in failed(await world.verify(await world.request(options={}), presentation))


async def test_domains(world: World) -> None:
    held = (await world.document(), await world.token())
    for one in held:
        asked = await world.request()
        other = {**asked, "options": {**asked["options"], "domain": "other.example"}}
        none = {**asked, "options": {"challenge": asked["options"]["challenge"]}}
        assert ("domain", "") in failed(await world.verify(asked, await world.present(other, one)))
        assert ("domain", "") in failed(await world.verify(none, await world.present(asked, one)))
        # What ACA-Py does.
        without = await world.verify(asked, await world.present(none, one))
        assert without.verification.verified
        assert ("domain", "") in made(without.verification)
        stale = {**asked, "options": {**asked["options"], "challenge": str(uuid.uuid4())}}
        assert failed(await world.verify(stale, await world.present(none, one))) >= {("challenge", ""), ("domain", "")}


async def test_what_names_no_format_is_known_by_its_shape(world: World) -> None:
    request = await world.request()
    proposal = (await world.dif.propose(party(HOLDER), {"input_descriptors": [descriptor()]})).value
    presentation = await world.present(request, await world.document())
    shapes = {"propose": proposal, "request": request, "present": presentation}
    for step, value in shapes.items():
        assert [world.dif.reads(cast(Any, name), value) for name in shapes] == [name == step for name in shapes]
    assert not world.dif.reads("present", "x")
    json.dumps(shapes)
