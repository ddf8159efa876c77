"""Presentations by Presentation Exchange: asked for, shown, verified, and attacked; and those of ACA-Py."""

import copy
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from tests.unit.credentials.ld import CITIZENSHIP, V1, Dids, Key, vectors
from tntcore.credentials.compact import sign_token
from tntcore.credentials.formats import FormatError, HeldCredential, Issuing, Party, Verification, Verified
from tntcore.credentials.jwt_vc import JwtVc
from tntcore.credentials.ld_proof import LdProof
from tntcore.credentials.linked_data import LinkedData
from tntcore.credentials.presentation_exchange import PresentationExchange
from tntcore.credentials.presentations import Presentations
from tntcore.credentials.proof_suites import Suite
from tntcore.dids.document import DidDocument
from tntcore.egress import EgressError
from tntcore.errors import DidError, Problem
from tntcore.storage.repository import Repository
from tntcore.workers import Workers

ACAPY = vectors("acapy-1.7.0-dif.json")
NOW = int(time.time()) * 1000
DOMAIN = "verifier.example"
ISSUER, HOLDER, OTHER, VERIFIER = Key(1), Key(2), Key(3), Key(4)
LD, JWT = "aries/ld-proof-vc@v1.0", "aries/jwt-vc@v1.0"


def party(key: Key) -> Party:
    return Party(key.did, key, cast(Repository, None))


class World:
    """The format under test, with all that it stands on."""

    def __init__(self, workers: Workers, dids: Dids, now: int = NOW) -> None:
        async def fetch(url: str) -> bytes:
            raise EgressError("status", "answered 404")

        self.dids = dids
        self.linked_data = LinkedData(workers, dids.resolve, lambda: now)
        self.ld_proof = LdProof(self.linked_data, fetch)
        self.jwt_vc = JwtVc(workers, dids.resolve, fetch, lambda: now)
        self.dif = PresentationExchange(
            workers,
            Presentations(dids.resolve, self.linked_data, lambda: now, lambda: str(uuid.uuid4())),
            self.linked_data,
            self.ld_proof.verify_credential,
            self.jwt_vc,
            lambda: now,
            lambda: str(uuid.uuid4()),
        )

    async def document(
        self, *, holder: str = HOLDER.did, suite: Suite = "Ed25519Signature2018", issuer: Key = ISSUER, **claims: Any
    ) -> HeldCredential:
        credential = {
            "@context": [V1, CITIZENSHIP],
            "type": ["VerifiableCredential", "PermanentResident"],
            "issuer": issuer.did,
            "issuanceDate": "2020-01-01T12:00:00Z",
            "credentialSubject": {"id": holder, "type": "PermanentResident", "familyName": "SMITH", **claims},
        }
        signed = await self.linked_data.sign(credential, issuer, suite=suite, purpose="assertionMethod", created_ms=NOW)
        return HeldCredential(str(uuid.uuid4()), LD, signed)

    async def token(self, *, holder: str = HOLDER.did, issuer: Key = ISSUER, **claims: Any) -> HeldCredential:
        credential = {
            "@context": [V1, CITIZENSHIP],
            "type": ["VerifiableCredential", "PermanentResident"],
            "credentialSubject": {"id": holder, "familyName": "SMITH", **claims},
        }
        draft = await self.jwt_vc.issue(party(issuer), Issuing(), {"credential": credential})
        return HeldCredential(str(uuid.uuid4()), JWT, draft.value)

    async def request(self, *descriptors: Any, options: Any = None, **more: Any) -> dict[str, Any]:
        definition = {"input_descriptors": list(descriptors) or [descriptor()], **more}
        content = {"presentation_definition": definition, "options": {"domain": DOMAIN} if options is None else options}
        return cast(dict[str, Any], (await self.dif.request(party(VERIFIER), None, content)).value)

    async def present(
        self, request: Any, *held: HeldCredential, chosen: Mapping[str, Any] | None = None, holder: Key = HOLDER
    ) -> Any:
        return (await self.dif.present(party(holder), request, held, chosen)).value

    async def verify(self, request: Any, presentation: Any) -> Verified:
        return await self.dif.verify(party(VERIFIER), request, presentation)

    async def sign(self, document: dict[str, Any], request: Any, key: Key = HOLDER, **more: Any) -> dict[str, Any]:
        """A presentation that the holder signed, whatever is in it."""
        document = {name: value for name, value in document.items() if name != "proof"}
        asked = {**request["options"], **more}
        return await self.linked_data.sign(
            document, key, suite="Ed25519Signature2018", purpose="authentication", created_ms=NOW, **asked
        )


@pytest.fixture
def dids() -> Dids:
    return Dids()


@pytest.fixture
def world(workers: Workers, dids: Dids) -> World:
    return World(workers, dids)


def descriptor(name: str = "resident", family: str = "SMITH", **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "schema": [
            {"uri": "https://www.w3.org/2018/credentials#VerifiableCredential"},
            {"uri": "https://w3id.org/citizenship#PermanentResident"},
        ],
        "constraints": {
            "fields": [
                {
                    "path": ["$.credentialSubject.familyName", "$.vc.credentialSubject.familyName"],
                    "filter": {"const": family},
                }
            ]
        },
        **more,
    }


def failed(verified: Verified) -> set[tuple[str, str]]:
    assert not verified.verification.verified
    return {(check.name, check.subject) for check in verified.verification.checks if check.passed is not True}


def made(verification: Verification) -> set[tuple[str, str]]:
    return {(check.name, check.subject) for check in verification.checks}


CREDENTIAL = {(name, "credential 0") for name in ("signature", "issuer", "expiry", "holder-binding")}
OUTER = {(name, "") for name in ("signature", "holder-binding", "challenge", "domain", "request")}


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


def altered(presentation: Any) -> dict[str, Any]:
    changed: dict[str, Any] = copy.deepcopy(presentation)
    changed["verifiableCredential"][0]["credentialSubject"]["givenName"] = "MALLORY"
    return changed


async def test_an_altered_claim(world: World) -> None:
    request = await world.request()
    presentation = altered(await world.present(request, await world.document()))
    assert ("signature", "") in failed(await world.verify(request, presentation))


async def test_a_credential_that_fails_while_the_presentation_holds(world: World) -> None:
    request = await world.request()
    presentation = await world.sign(altered(await world.present(request, await world.document())), request)
    wrong = failed(await world.verify(request, presentation))
    assert ("signature", "credential 0") in wrong
    assert {subject for _, subject in wrong} == {"credential 0"}


async def test_a_token_that_fails_while_the_presentation_holds(world: World) -> None:
    request = await world.request()
    held = await world.token()
    forged = HeldCredential("1", JWT, held.value[:-8] + "AAAAAAAA")
    assert failed(await world.verify(request, await world.present(request, forged))) >= {("signature", "credential 0")}
    values: list[Any] = ["x.y.z", 7, None, {"proof": {}}, ["x"]]
    for value in values:
        claims = _claims(request, [value])
        presentation = await sign_token(claims, HOLDER, HOLDER.kid)
        assert not (await world.verify(request, presentation)).verification.verified


def _claims(request: Any, credentials: Sequence[Any], **more: Any) -> dict[str, Any]:
    entries = [{"id": "resident", "format": "jwt_vc", "path": "$.verifiableCredential[0]"}]
    vp = {
        "@context": [V1],
        "type": ["VerifiablePresentation"],
        "verifiableCredential": list(credentials),
        "presentation_submission": {"descriptor_map": entries},
    }
    options = request["options"]
    return {"iss": HOLDER.did, "nonce": options["challenge"], "aud": options["domain"], "vp": vp, **more}


async def test_tokens_of_another_kind_or_another_signer_are_no_presentation(world: World) -> None:
    request = await world.request()
    held = await world.token()
    good = await sign_token(_claims(request, [held.value]), HOLDER, HOLDER.kid)
    assert (await world.verify(request, good)).verification.verified
    tries = [
        await sign_token(_claims(request, [held.value], iss=OTHER.did), HOLDER, HOLDER.kid),
        await sign_token(_claims(request, [held.value]), OTHER, HOLDER.kid),
        await sign_token(_claims(request, [held.value]), OTHER, OTHER.kid),
        await sign_token(_claims(request, [held.value], iss=OTHER.did), OTHER, OTHER.kid),
        await sign_token(_claims(request, [held.value], exp=NOW // 1000 - 1), HOLDER, HOLDER.kid),
        await sign_token(_claims(request, [held.value], exp="never"), HOLDER, HOLDER.kid),
        await sign_token(_claims(request, [held.value], nbf=NOW // 1000 + 3_600), HOLDER, HOLDER.kid),
        await sign_token(_claims(request, [held.value], nonce=None), HOLDER, HOLDER.kid),
        await sign_token(_claims(request, [held.value], aud=[DOMAIN, "other"]), HOLDER, HOLDER.kid),
    ]
    for presentation in tries:
        assert not (await world.verify(request, presentation)).verification.verified
    # A credential is no presentation of itself, and a presentation no credential.
    with pytest.raises(FormatError):
        await world.verify(request, held.value)
    with pytest.raises(FormatError):
        await world.jwt_vc.verify_credential(good)
    nested = await sign_token(_claims(request, [good]), HOLDER, HOLDER.kid)
    assert ("signature", "credential 0") in failed(await world.verify(request, nested))


async def test_a_credential_of_another_holder(world: World) -> None:
    request = await world.request()
    theirs = await world.document(holder=OTHER.did)
    presentation = await world.present(request, await world.document())
    presentation["verifiableCredential"] = [theirs.value]
    stolen = await world.sign(presentation, request)
    assert failed(await world.verify(request, stolen)) == {("holder-binding", "credential 0")}
    unbound = await world.document()
    del unbound.value["credentialSubject"]["id"]
    del unbound.value["proof"]
    anyones = await world.linked_data.sign(
        unbound.value, ISSUER, suite="Ed25519Signature2018", purpose="assertionMethod", created_ms=NOW
    )
    presentation["verifiableCredential"] = [anyones]
    bearer = await world.sign(presentation, request)
    assert failed(await world.verify(request, bearer)) == {("holder-binding", "credential 0")}


async def test_a_presentation_that_names_another_holder(world: World) -> None:
    request = await world.request()
    presentation = await world.present(request, await world.document())
    named = await world.sign({**presentation, "holder": OTHER.did}, request)
    assert failed(await world.verify(request, named)) == {("holder-binding", "")}
    own = await world.sign({**presentation, "holder": HOLDER.did}, request)
    assert (await world.verify(request, own)).verification.verified


async def test_a_presentation_that_nobody_signed_or_not_to_authenticate(world: World) -> None:
    request = await world.request()
    presentation = await world.present(request, await world.document())
    unsigned = {name: value for name, value in presentation.items() if name != "proof"}
    assert ("signature", "") in failed(await world.verify(request, unsigned))
    asserted = await world.linked_data.sign(
        unsigned, HOLDER, suite="Ed25519Signature2018", purpose="assertionMethod", created_ms=NOW, **request["options"]
    )
    assert ("signature", "") in failed(await world.verify(request, asserted))
    with pytest.raises(FormatError):
        await world.verify(request, (await world.document()).value)
    values: list[Any] = [
        None,
        7,
        [],
        {},
        {"type": "VerifiablePresentation"},
        {**presentation, "verifiableCredential": []},
    ]
    for value in values:
        with pytest.raises(FormatError):
            await world.verify(request, value)
    many = {**presentation, "verifiableCredential": presentation["verifiableCredential"] * 33}
    with pytest.raises(FormatError):
        await world.verify(request, many)


@pytest.mark.parametrize(
    "submission",
    [
        None,
        {},
        {"descriptor_map": []},
        {"descriptor_map": {}},
        {"descriptor_map": ["x"]},
        {"descriptor_map": [{"id": "resident", "format": "ldp_vc", "path": "$.verifiableCredential[1]"}]},
        {"descriptor_map": [{"id": "resident", "format": "ldp_vc", "path": "$.verifiableCredential[2]"}]},
        {"descriptor_map": [{"id": "resident", "format": "ldp_vc", "path": "$.verifiableCredential[*]"}]},
        {"descriptor_map": [{"id": "resident", "format": "ldp_vc", "path": "$"}]},
        {"descriptor_map": [{"id": "resident", "format": "ldp_vc", "path": "$.presentation_submission"}]},
        {"descriptor_map": [{"id": "resident", "format": "ldp_vc", "path": "$..*"}]},
        {"descriptor_map": [{"id": "resident", "format": "ldp_vc"}]},
        {"descriptor_map": [{"id": "other", "format": "ldp_vc", "path": "$.verifiableCredential[0]"}]},
        {"descriptor_map": [{"id": "resident", "path": "$.verifiableCredential[0]"}] * 501},
        {"definition_id": "other", "descriptor_map": [{"id": "resident", "path": "$.verifiableCredential[0]"}]},
    ],
)
async def test_a_map_that_points_elsewhere(world: World, submission: Any) -> None:
    request = await world.request()
    right, wrong = await world.document(), await world.document(familyName="JONES")
    presentation = await world.present(request, right)
    presentation["verifiableCredential"] = [right.value, wrong.value]
    presentation["presentation_submission"] = submission
    # This suite signs the JSON as it is: in RDF some of these maps would be nothing, or nothing that can be signed.
    del presentation["proof"]
    if submission is None:
        del presentation["presentation_submission"]
    signed = await world.linked_data.sign(
        presentation, HOLDER, suite="eddsa-jcs-2022", purpose="authentication", created_ms=NOW, **request["options"]
    )
    assert failed(await world.verify(request, signed)) == {("request", "")}


@pytest.mark.parametrize(
    "entry",
    [
        {"path": "$.verifiableCredential[0]"},
        {"path": "$.verifiableCredential.[0]"},
        {"path": "$.verifiableCredential"},
        {"path": "$", "path_nested": {"format": "ldp_vc", "path": "$.verifiableCredential[0]"}},
    ],
)
async def test_ways_to_write_a_map(world: World, entry: dict[str, Any]) -> None:
    request = await world.request()
    presentation = await world.present(request, await world.document())
    presentation["presentation_submission"]["descriptor_map"] = [{"id": "resident", "format": "ldp_vc", **entry}]
    del presentation["proof"]
    signed = await world.linked_data.sign(
        presentation, HOLDER, suite="eddsa-jcs-2022", purpose="authentication", created_ms=NOW, **request["options"]
    )
    assert (await world.verify(request, signed)).verification.verified


async def test_a_credential_that_nothing_points_at_is_verified_too(world: World) -> None:
    request = await world.request()
    right = await world.document()
    presentation = await world.present(request, right)
    presentation["verifiableCredential"] = [
        right.value,
        altered({"verifiableCredential": [right.value]})["verifiableCredential"][0],
    ]
    wrong = failed(await world.verify(request, await world.sign(presentation, request)))
    assert ("signature", "credential 1") in wrong
    assert {subject for _, subject in wrong} == {"credential 1"}


async def test_a_jwt_inside_json_ld_is_not_what_was_signed(world: World) -> None:
    request = await world.request()
    presentation = await world.present(request, await world.document())
    presentation["verifiableCredential"] = [(await world.token()).value]
    del presentation["proof"]
    signed = await world.linked_data.sign(
        presentation, HOLDER, suite="eddsa-jcs-2022", purpose="authentication", created_ms=NOW, **request["options"]
    )
    assert ("signature", "credential 0") in failed(await world.verify(request, signed))


async def test_a_context_that_the_holder_adds_is_no_schema(world: World) -> None:
    by_context = descriptor(schema=[{"uri": CITIZENSHIP}])
    request = await world.request(by_context)
    held = await world.document()
    assert (await world.dif.candidates(request, [held]))[0].credentials == [held.uuid]
    presentation = await world.present(request, held)
    assert failed(await world.verify(request, presentation)) == {("request", "")}
    signed_as_it_is = await world.present(request, await world.document(suite="eddsa-jcs-2022"))
    assert (await world.verify(request, signed_as_it_is)).verification.verified


async def test_a_signer_that_cannot_be_looked_up_now(world: World) -> None:
    request = await world.request()
    for held in (await world.document(), await world.token()):
        presentation = await world.present(request, held)
        world.dids.documents[HOLDER.did] = DidError("unresolvable", "timeout")
        with pytest.raises(DidError):
            await world.verify(request, presentation)
        world.dids.documents[HOLDER.did] = DidError("not-found", "nobody has shown it")
        assert ("signature", "") in failed(await world.verify(request, presentation))
        del world.dids.documents[HOLDER.did]


async def test_a_key_that_is_not_to_authenticate_with(world: World) -> None:
    peer = Key(2, "did:example:peer", "key-1")
    world.dids.put(peer)
    request = await world.request()
    held = await world.token(holder=peer.did)
    presentation = await world.present(request, held, holder=peer)
    assert (await world.verify(request, presentation)).verification.verified
    document = world.dids.documents[peer.did]
    assert isinstance(document, DidDocument)
    world.dids.put(peer, authentication=False)
    assert ("signature", "") in failed(await world.verify(request, presentation))


async def test_what_names_no_format_is_known_by_its_shape(world: World) -> None:
    request = await world.request()
    proposal = (await world.dif.propose(party(HOLDER), {"input_descriptors": [descriptor()]})).value
    presentation = await world.present(request, await world.document())
    shapes = {"propose": proposal, "request": request, "present": presentation}
    for step, value in shapes.items():
        assert [world.dif.reads(cast(Any, name), value) for name in shapes] == [name == step for name in shapes]
    assert not world.dif.reads("present", "x")
    json.dumps(shapes)
