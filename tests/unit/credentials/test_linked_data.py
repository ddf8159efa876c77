"""Proofs of JSON-LD documents: made, checked, and attacked."""

from __future__ import annotations

import copy
import itertools
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from openvc.keys import Ed25519SigningKey
from openvc.proof.contexts import pyld_options
from openvc.proof.data_integrity import DataIntegrityProofSuite
from openvc.proof.di_jcs import EddsaJcsProofSuite
from pyld import jsonld
from pyoxigraph import CanonicalizationAlgorithm, Dataset, RdfFormat, parse, serialize

from tests.unit.credentials.ld import (
    CITIZENSHIP,
    EXAMPLES_V2,
    NOW,
    V1,
    V2,
    Dids,
    Key,
    credential,
    vectors,
)
from tntcore.credentials import proof_suites
from tntcore.credentials.formats import Check, FormatError, SigningError
from tntcore.credentials.linked_data import LinkedData, Proof
from tntcore.credentials.proof_suites import SUITES, Suite
from tntcore.dids.document import PublicKey, VerificationMethod
from tntcore.errors import DidError
from tntcore.workers import Workers

W3C = vectors("vc-di-eddsa.json")
ACAPY = vectors("acapy-1.7.0.json")
DIDKIT = vectors("didkit-0.3.3.json")
EXAMPLES = {EXAMPLES_V2: {"@context": {"@vocab": "https://www.w3.org/ns/credentials/examples#"}}}

ISSUER, OTHER, HOLDER = Key(1), Key(2), Key(3)


@pytest.fixture
def dids() -> Dids:
    return Dids()


@pytest.fixture
def data(workers: Workers, dids: Dids) -> LinkedData:
    return LinkedData(workers, dids.resolve, lambda: NOW, contexts=EXAMPLES)


async def issued(data: LinkedData, suite: Suite = "Ed25519Signature2020", /, **more: Any) -> dict[str, Any]:
    document = credential(ISSUER.did, **more)
    return await data.sign(document, ISSUER, suite=suite, purpose="assertionMethod", created_ms=NOW)


async def checked(data: LinkedData, document: dict[str, Any], **asked: Any) -> Proof:
    return await data.check_proof(document, **{"purpose": "assertionMethod", **asked})


def failures(proof: Proof) -> list[Check]:
    """Each check that did not pass; such a proof has no signer."""
    assert proof.signer is None
    assert not proof.kids
    return [check for check in proof.checks if check.passed is not True]


def detail(proof: Proof) -> str:
    (failed,) = failures(proof)
    assert failed.name == "signature"
    assert failed.passed is False
    return failed.detail


@pytest.mark.parametrize("name", sorted(W3C))
async def test_the_vectors_of_the_specification(data: LinkedData, name: str) -> None:
    proof = await checked(data, W3C[name])
    assert {check.passed for check in proof.checks} == {True}, proof.checks
    assert proof.signer


@pytest.mark.parametrize("name", sorted(W3C))
async def test_the_vectors_altered(data: LinkedData, name: str) -> None:
    document = copy.deepcopy(W3C[name])
    document["validFrom"] = "2022-01-01T00:00:00Z"
    failures(await checked(data, document))


@pytest.mark.parametrize(
    "document", [*ACAPY, *DIDKIT], ids=lambda document: "-".join([document["type"][0], document["proof"]["type"]])
)
async def test_what_another_agent_signed(data: LinkedData, document: dict[str, Any]) -> None:
    purpose = document["proof"]["proofPurpose"]
    proof = await checked(data, document, purpose=purpose, challenge=document["proof"].get("challenge"))
    assert {check.passed for check in proof.checks} == {True}, proof.checks
    assert proof.kid == document["proof"]["verificationMethod"]


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("base", [V1, V2])
async def test_what_is_signed_verifies(data: LinkedData, suite: Suite, base: str) -> None:
    document = {
        "@context": [base],
        "type": ["VerifiableCredential"],
        "issuer": {"id": ISSUER.did},
        "issuanceDate" if base == V1 else "validFrom": "2020-01-01T12:00:00Z",
        "credentialSubject": {"id": HOLDER.did},
    }
    signed = await data.sign(
        document,
        ISSUER,
        suite=suite,
        purpose="authentication",
        created_ms=NOW + 999,
        challenge="a challenge",
        domain="a.example",
    )
    assert signed["proof"]["created"] == "2026-12-01T00:00:00Z"
    asked = {"purpose": "authentication", "challenge": "a challenge", "domain": "a.example"}
    proof = await checked(data, signed, **asked)
    assert [check.name for check in proof.checks] == ["challenge", "domain", "signature"]
    assert (proof.signer, proof.kid) == (ISSUER.did, ISSUER.kid)
    assert "proof" not in document


@pytest.mark.parametrize("suite", ["eddsa-rdfc-2022", "eddsa-jcs-2022"])
async def test_signed_here_and_by_another_implementation(data: LinkedData, suite: Suite) -> None:
    """openvc signs and checks eddsa-rdfc-2022 with no code of ours in between. Both signatures are the same bytes."""
    document = {
        "@context": [V2, EXAMPLES_V2],
        "id": "urn:uuid:58172aac-d8ba-11ed-83dd-0b3aef56cc33",
        "type": ["VerifiableCredential", "AlumniCredential"],
        "issuer": ISSUER.did,
        "validFrom": "2023-01-01T00:00:00Z",
        "credentialSubject": {"id": HOLDER.did, "alumniOf": "The School of Examples", "age": 42, "ratio": 0.1},
    }
    ours = await data.sign(document, ISSUER, suite=suite, purpose="assertionMethod", created_ms=NOW)
    key = Ed25519SigningKey.from_jwk(_jwk(ISSUER), ISSUER.kid)
    if suite == "eddsa-rdfc-2022":
        DataIntegrityProofSuite().verify(ours, extra_contexts=EXAMPLES)
        theirs = DataIntegrityProofSuite().add_proof(
            document, signing_key=key, verification_method=ISSUER.kid, created=_moment(), extra_contexts=EXAMPLES
        )
    else:
        EddsaJcsProofSuite().verify(ours)
        theirs = EddsaJcsProofSuite().add_proof(
            document, signing_key=key, verification_method=ISSUER.kid, created=_moment()
        )
    assert ours == theirs


def test_the_canonical_form_is_that_of_another_implementation() -> None:
    """pyoxigraph's RDFC-1.0, of a document with blank nodes of which some can be told apart only by
    their neighbours."""
    nodes = [{"id": f"_:n{i}", "evidence": {"id": f"_:n{(i + 1) % 3}"}} for i in range(3)]
    same: dict[str, Any] = {"type": "Twin"}
    document = {
        "@context": [V1, {"@vocab": "https://example.org/"}],
        "evidence": [*nodes, {"pair": [dict(same), dict(same)]}],
    }
    ours = proof_suites._canonical(document, {})
    options: Any = pyld_options(proof_suites.loader({}), format="application/n-quads")
    quads = jsonld.to_rdf(document, options)
    dataset = Dataset(parse(quads, RdfFormat.N_QUADS))
    dataset.canonicalize(CanonicalizationAlgorithm.RDFC_1_0)
    theirs = serialize(dataset, format=RdfFormat.N_QUADS)
    assert sorted(ours.splitlines()) == sorted((theirs or b"").splitlines())


async def test_the_key_may_be_held_elsewhere(data: LinkedData) -> None:
    key = Key(9)
    await data.sign(credential(key.did), key, suite="eddsa-rdfc-2022", purpose="assertionMethod", created_ms=NOW)
    (asked,) = key.asked
    assert len(asked) == 64


async def test_a_signature_by_another_key_than_the_signers_goes_nowhere(data: LinkedData) -> None:
    key = Key(9)
    key.private = Key(8).private
    with pytest.raises(SigningError):
        await data.sign(
            credential(key.did), key, suite="Ed25519Signature2018", purpose="assertionMethod", created_ms=NOW
        )


# Attackers.


@pytest.mark.parametrize("suite", SUITES)
async def test_an_altered_claim(data: LinkedData, suite: Suite) -> None:
    signed = await issued(data, suite)
    signed["credentialSubject"]["givenName"] = "MALLORY"
    assert "signature is not one" in detail(await checked(data, signed)) or suite == "eddsa-jcs-2022"


async def test_a_proof_with_another_context_than_its_document(data: LinkedData) -> None:
    """eddsa-jcs-2022, section 3.3.2: the document's contexts begin with the proof's."""
    signed = await issued(data, "eddsa-jcs-2022")
    signed["proof"]["@context"] = signed["@context"]
    assert (await checked(data, signed)).kids
    signed["proof"]["@context"] = {"@vocab": "https://a.example/#"}
    assert "@context" in detail(await checked(data, signed))


@pytest.mark.parametrize("suite", SUITES)
async def test_a_claim_that_no_context_defines(data: LinkedData, suite: Suite) -> None:
    """It would not be signed: but with eddsa-jcs-2022, which signs all of the JSON."""
    document = credential(ISSUER.did)
    document["credentialSubject"]["isAdmin"] = True
    signing = data.sign(document, ISSUER, suite=suite, purpose="assertionMethod", created_ms=NOW)
    if suite != "eddsa-jcs-2022":
        with pytest.raises(FormatError, match="isAdmin"):
            await signing
    else:
        await signing
    signed = await issued(data, suite)
    signed["credentialSubject"]["isAdmin"] = True
    detail(await checked(data, signed))


@pytest.mark.parametrize(
    "change",
    [
        {"https://www.w3.org/2018/credentials#expirationDate": {"@value": "x"}},
        {"id": "relative"},
        {"type": ["VerifiableCredential", "PermanentResident", "Unheard"]},
        {"@included": [{"id": "urn:x:y", "type": "PermanentResident"}]},
        {"evidence": {"id": "has space", "type": "PermanentResident"}},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_what_the_signature_would_not_cover_as_it_is_written(data: LinkedData, change: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        await issued(data, **change)
    signed = await issued(data)
    detail(await checked(data, {**signed, **change}))


async def test_a_term_that_another_context_renames(data: LinkedData) -> None:
    """The same statements under other names: the expiry would not be found, a given name would be an alias."""
    signed = await issued(data, expirationDate="2021-01-01T00:00:00Z")
    hidden = {name: value for name, value in signed.items() if name != "expirationDate"}
    hidden["@context"] = [*signed["@context"], {"until": {"@id": "https://www.w3.org/2018/credentials#expirationDate"}}]
    assert "until" in detail(await checked(data, {**hidden, "until": "2021-01-01T00:00:00Z"}))
    spelled = {**hidden, "@context": signed["@context"]}
    spelled["https://www.w3.org/2018/credentials#expirationDate"] = {
        "@type": "http://www.w3.org/2001/XMLSchema#dateTime",
        "@value": "2021-01-01T00:00:00Z",
    }
    detail(await checked(data, spelled))
    through_vocabulary = {**hidden, "@context": [V1, CITIZENSHIP, {"@vocab": "https://www.w3.org/2018/credentials#"}]}
    detail(await checked(data, through_vocabulary))


@pytest.mark.parametrize(
    "context",
    [
        [V1, {"givenName": "http://schema.org/familyName"}],
        [V1, {"issuer": "https://example.org/other"}],
        [V1, {"issuer": None}],
        [V1, None],
        [CITIZENSHIP, V1],
        [V1, ["nested"]],
        [V1, CITIZENSHIP, V2],
        {},
        None,
    ],
    ids=str,
)
async def test_a_context_put_in_its_place(data: LinkedData, context: Any) -> None:
    signed = await issued(data)
    detail(await checked(data, {**signed, "@context": context}))


async def test_a_context_that_is_not_known(data: LinkedData) -> None:
    unknown = "https://attacker.example/v1"
    with pytest.raises(FormatError, match="not known here"):
        await issued(data, "Ed25519Signature2018", **{"@context": [V1, CITIZENSHIP, unknown]})
    signed = await issued(data)
    signed["@context"].append(unknown)
    assert unknown in detail(await checked(data, signed))


async def test_a_context_that_the_tenant_gave(workers: Workers, dids: Dids) -> None:
    async def find(url: str) -> dict[str, Any] | None:
        asked.append(url)
        return {"@context": {"isAdmin": "https://example.org/isAdmin"}} if url == "https://good.example/v1" else None

    asked: list[str] = []
    data = LinkedData(workers, dids.resolve, lambda: NOW, find=find)
    document = credential(ISSUER.did)
    document["@context"].append("https://good.example/v1")
    document["credentialSubject"]["isAdmin"] = True
    signed = await data.sign(document, ISSUER, suite="Ed25519Signature2018", purpose="assertionMethod", created_ms=NOW)
    assert (await checked(data, signed)).signer == ISSUER.did
    assert set(asked) == {"https://good.example/v1"}
    for elsewhere in ("https://good.example.attacker/v1", "http://169.254.169.254/latest", "file:///etc/passwd"):
        assert "not known here" in detail(await checked(data, {**signed, "@context": [V1, CITIZENSHIP, elsewhere]}))


async def test_a_signature_by_another_key(data: LinkedData, dids: Dids) -> None:
    forged = await data.sign(
        credential(ISSUER.did), OTHER, suite="Ed25519Signature2020", purpose="assertionMethod", created_ms=NOW
    )
    proof = await checked(data, forged)
    assert proof.signers == (OTHER.did,)  # a right signature, and not the issuer's: for the caller to see
    forged["proof"]["verificationMethod"] = ISSUER.kid
    detail(await checked(data, forged))


async def test_a_key_that_is_not_for_this(data: LinkedData, dids: Dids) -> None:
    key = Key(4, "did:web:a.example", "key-1")
    dids.put(key, assertion=False)
    document = credential(key.did)
    signed = await data.sign(document, key, suite="Ed25519Signature2020", purpose="assertionMethod", created_ms=NOW)
    assert "lists for assertionMethod" in detail(await checked(data, signed))
    dids.put(key, controller="did:web:b.example")
    detail(await checked(data, signed))
    dids.put(key)
    assert (await checked(data, signed)).signer == key.did


async def test_a_method_of_a_did_that_does_not_have_it(data: LinkedData, dids: Dids) -> None:
    key, stranger = Key(4, "did:web:a.example", "key-1"), Key(5, "did:web:a.example", "key-2")
    dids.put(key)
    signed = await data.sign(
        credential(key.did), stranger, suite="Ed25519Signature2018", purpose="assertionMethod", created_ms=NOW
    )
    detail(await checked(data, signed))


async def test_a_key_of_another_curve(data: LinkedData, dids: Dids) -> None:
    key = Key(4, "did:web:a.example", "key-1")
    dids.put(key)
    signed = await data.sign(
        credential(key.did), key, suite="Ed25519Signature2018", purpose="assertionMethod", created_ms=NOW
    )
    document = dids.documents[key.did]
    assert not isinstance(document, DidError)
    for curve in ("P-256", "X25519"):
        method = VerificationMethod(key.kid, key.did, PublicKey(curve, key.key.raw))
        document.methods[key.kid] = method  # type: ignore[index]
        assert curve in detail(await checked(data, signed))


async def test_a_did_that_cannot_be_resolved(data: LinkedData, dids: Dids) -> None:
    key = Key(4, "did:web:a.example", "key-1")
    signed = await data.sign(
        credential(key.did), key, suite="Ed25519Signature2018", purpose="assertionMethod", created_ms=NOW
    )
    dids.documents[key.did] = DidError("not-found", "there is no such document")
    detail(await checked(data, signed))
    dids.documents[key.did] = DidError("unresolvable", "no answer")
    with pytest.raises(DidError):
        await checked(data, signed)


async def test_another_challenge_domain_or_purpose(data: LinkedData) -> None:
    signed = await data.sign(
        credential(ISSUER.did),
        ISSUER,
        suite="Ed25519Signature2020",
        purpose="authentication",
        created_ms=NOW,
        challenge="one",
        domain="a.example",
    )
    proof = await checked(data, signed, purpose="authentication", challenge="two", domain="b.example")
    assert [check.name for check in failures(proof)] == ["challenge", "domain"]
    assert "authentication" not in detail(await checked(data, signed))
    for swap in ({"proofPurpose": "assertionMethod"}, {"challenge": "two"}, {"domain": "b.example"}):
        changed = {**signed, "proof": {**signed["proof"], **swap}}
        purpose = changed["proof"]["proofPurpose"]
        asked = {"challenge": changed["proof"]["challenge"], "domain": changed["proof"]["domain"]}
        detail(await checked(data, changed, purpose=purpose, **asked))
    plain = await issued(data)
    assert {check.name for check in failures(await checked(data, plain, challenge="one", domain="a.example"))} == {
        "challenge",
        "domain",
    }


@pytest.mark.parametrize("suite", SUITES)
async def test_a_proof_moved_to_another_document(data: LinkedData, suite: Suite) -> None:
    signed = await issued(data, suite)
    other = await issued(data, suite, issuanceDate="2021-01-01T12:00:00Z")
    detail(await checked(data, {**other, "proof": signed["proof"]}))


@pytest.mark.parametrize("suite", SUITES)
async def test_a_proof_that_says_it_is_of_another_suite(data: LinkedData, suite: Suite) -> None:
    signed = await issued(data, suite, **{"@context": [V1, CITIZENSHIP, *_SUITE_CONTEXTS]})
    proof = signed["proof"]
    value = proof.get("jws") or proof["proofValue"]
    for other in (*SUITES, "BbsBlsSignature2020", "none", ""):
        if other == suite:
            continue
        swapped = {
            name: item for name, item in proof.items() if name not in ("type", "cryptosuite", "jws", "proofValue")
        }
        legacy = other.startswith("Ed")
        swapped |= {"type": other} if legacy else {"type": "DataIntegrityProof", "cryptosuite": other}
        swapped |= {"jws": value, "proofValue": value}
        detail(await checked(data, {**signed, "proof": swapped}))


async def test_a_jws_that_signs_something_else(data: LinkedData) -> None:
    """With `b64` true, or another payload, the signature would be one of nothing, and of any document."""
    signed = await issued(data, "Ed25519Signature2018")
    for header, payload in itertools.product(
        (
            {"alg": "EdDSA"},
            {"alg": "EdDSA", "b64": True, "crit": ["b64"]},
            {"alg": "none", "b64": False, "crit": ["b64"]},
        ),
        ("", "e30"),
    ):
        encoded = proof_suites._encode(orjson.dumps(header))
        signature = proof_suites._encode(await ISSUER.sign(f"{encoded}.{payload}".encode()))
        signed["proof"]["jws"] = f"{encoded}.{payload}.{signature}"
        detail(await checked(data, signed))
    for broken in ("", "..", "a..b", "é..é", None, 5, ["a"]):
        signed["proof"]["jws"] = broken
        detail(await checked(data, signed))


@pytest.mark.parametrize(
    "proof", ["missing", None, [], {}, "text", [{}], ["text"], [None], [[]], 5, [{"type": "Ed25519Signature2020"}] * 5]
)
async def test_no_proof(data: LinkedData, proof: Any) -> None:
    signed = await issued(data)
    del signed["proof"]
    detail(await checked(data, signed if proof == "missing" else {**signed, "proof": proof}))


async def test_a_set_with_one_bad_proof(data: LinkedData) -> None:
    signed = await issued(data)
    other = await data.sign(
        credential(ISSUER.did), OTHER, suite="Ed25519Signature2020", purpose="assertionMethod", created_ms=NOW
    )
    both = {**signed, "proof": [signed["proof"], other["proof"]]}
    assert (await checked(data, both)).signers == (ISSUER.did, OTHER.did)
    both["proof"][1] = {**other["proof"], "verificationMethod": HOLDER.kid}
    detail(await checked(data, both))
    both["proof"][1] = {**other["proof"], "type": "BbsBlsSignature2020"}
    detail(await checked(data, both))


@pytest.mark.parametrize(
    "change",
    [
        {"created": "2026-12-01T01:00:00Z"},
        {"created": "yesterday"},
        {"created": 5},
        {"created": "99999-12-01T01:00:00Z"},
        {"verificationMethod": None},
        {"verificationMethod": {"id": "did:example:a#b"}},
        {"verificationMethod": "https://a.example/key"},
        {"verificationMethod": ISSUER.did},
        {"verificationMethod": "did:key:z6Mk#"},
        {"proofPurpose": ["assertionMethod"]},
        {"previousProof": "urn:uuid:1"},
        {"nonce": "added"},
        {"unheard": "of"},
    ],
    ids=str,
)
async def test_a_changed_proof(data: LinkedData, change: dict[str, Any]) -> None:
    signed = await issued(data)
    signed["proof"].update(change)
    detail(await checked(data, signed))


async def test_a_proof_that_is_over(data: LinkedData) -> None:
    signed = await issued(data)
    signed["proof"]["expires"] = "2026-11-30T00:00:00Z"
    (failed,) = failures(await checked(data, signed))
    assert failed.name == "expiry"


# Bounds.


async def test_a_document_that_is_too_large_or_too_deep(data: LinkedData) -> None:
    signed = await issued(data)
    signed["credentialSubject"]["givenName"] = "A" * 5_000_000
    assert "bytes" in detail(await checked(data, signed))
    deep: Any = "x"
    for _ in range(200):
        deep = [deep]
    signed["credentialSubject"]["givenName"] = deep
    assert "deep" in detail(await checked(data, signed))
    with pytest.raises(FormatError, match="deep"):
        await issued(data, evidence=deep)
    signed["credentialSubject"]["givenName"] = 1 << 70
    assert "number" in detail(await checked(data, signed))


async def test_too_many_contexts(data: LinkedData) -> None:
    signed = await issued(data)
    signed["@context"] += [CITIZENSHIP] * 40
    assert "contexts" in detail(await checked(data, signed))


VOCABULARY = [V1, CITIZENSHIP, {"@vocab": "https://example.org/"}, "https://w3id.org/security/suites/ed25519-2020/v1"]


def _siblings(count: int) -> list[Any]:
    """Two nodes that cannot be told apart, each with as many more: RDFC-1.0 tries every order of them."""
    return [{"knows": [{"type": "Person"} for _ in range(count)]} for _ in range(2)]


def _clique(count: int) -> list[Any]:
    names = [f"_:n{i}" for i in range(count)]
    return [{"id": name, "knows": [{"id": other} for other in names if other != name]} for name in names]


@pytest.mark.parametrize("graph", [_siblings(12), _clique(12), _siblings(500)], ids=["siblings", "clique", "many"])
@pytest.mark.parametrize("suite", ["Ed25519Signature2018", "Ed25519Signature2020"])
async def test_a_graph_made_to_take_for_ever(data: LinkedData, graph: list[Any], suite: Suite) -> None:
    with pytest.raises(FormatError, match="told apart"):
        await issued(data, suite, **{"@context": VOCABULARY}, knows=graph)
    signed = await issued(data, suite, **{"@context": VOCABULARY})
    assert "told apart" in detail(await checked(data, {**signed, "knows": graph}))


@pytest.mark.parametrize("graph", [_siblings(1), _clique(3), [{"type": "Person"}] * 50], ids=["twins", "three", "many"])
async def test_a_few_nodes_that_look_alike_are_fine(data: LinkedData, graph: list[Any]) -> None:
    signed = await issued(data, "Ed25519Signature2020", **{"@context": VOCABULARY}, knows=graph)
    assert (await checked(data, signed)).signer == ISSUER.did


async def test_what_takes_too_long_fails(dids: Dids) -> None:
    slow = Workers(1, seconds=0.001)
    try:
        data = LinkedData(slow, dids.resolve, lambda: NOW)
        assert "too complex" in detail(await checked(data, ACAPY[0]))
        with pytest.raises(FormatError, match="too complex"):
            await issued(data)
    finally:
        await slow.close()


_SUITE_CONTEXTS = [
    "https://w3id.org/security/suites/ed25519-2020/v1",
    "https://w3id.org/security/data-integrity/v2",
]


def _jwk(key: Key) -> dict[str, Any]:
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": proof_suites._encode(key.key.raw),
        "d": proof_suites._encode(bytes(key.private)),
    }


def _moment() -> datetime:
    return datetime.fromtimestamp(NOW / 1000, UTC)
