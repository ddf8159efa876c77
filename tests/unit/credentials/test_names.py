"""Contexts inside a document: what real issuers write is signed and verifies; no holder gives a claim another name."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pyld import jsonld

from tests.unit.credentials.ld import CITIZENSHIP, NOW, V1, V2, Dids, Key
from tntcore.credentials.formats import FormatError
from tntcore.credentials.linked_data import LinkedData
from tntcore.credentials.names import UnsafeContext, check_published, read_contexts
from tntcore.credentials.proof_suites import Suite, loader
from tntcore.workers import Workers

ISSUER, HOLDER = Key(1), Key(3)
TERMS = "https://bank.example/terms#"
XSD = "http://www.w3.org/2001/XMLSchema#"
RDF_SUITES: tuple[Suite, ...] = ("Ed25519Signature2018", "Ed25519Signature2020", "eddsa-rdfc-2022")


@pytest.fixture
def data(workers: Workers) -> LinkedData:
    return LinkedData(workers, Dids().resolve, lambda: NOW)


def credential(context: Any, claims: dict[str, Any], base: str = V1, type_: str = "Statement") -> dict[str, Any]:
    return {
        "@context": [base, *(context if isinstance(context, list) else [context])],
        "type": ["VerifiableCredential", type_],
        "issuer": ISSUER.did,
        "validFrom" if base == V2 else "issuanceDate": "2020-01-01T12:00:00Z",
        "credentialSubject": {"id": HOLDER.did, **claims},
    }


async def sign(data: LinkedData, document: dict[str, Any], suite: Suite = "Ed25519Signature2020") -> dict[str, Any]:
    return await data.sign(document, ISSUER, suite=suite, purpose="assertionMethod", created_ms=NOW)


async def why_not(data: LinkedData, document: dict[str, Any]) -> str:
    """Why the signature of a document fails; "" if it does not."""
    proof = await data.check_proof(document, purpose="assertionMethod")
    (check,) = proof.checks
    return check.detail if check.passed is not True else ""


VOCAB = {"@vocab": TERMS}


@pytest.mark.parametrize(
    ("context", "claims"),
    [
        (VOCAB, {"unpaid": True}),
        ({"Statement": TERMS + "Statement", "unpaid": TERMS + "unpaid"}, {"unpaid": True}),
        ([VOCAB, {"name": "https://schema.example/name"}], {"name": "Alice", "unpaid": True}),
        (
            {
                "@version": 1.1,
                "ex": TERMS,
                "xsd": XSD,
                "Statement": "ex:Statement",
                "born": {"@id": "ex:born", "@type": "xsd:date"},
                "score": {"@id": "ex:score", "@type": "xsd:integer"},
                "seen": {"@id": "ex:seen", "@type": "@id"},
                "tags": {"@id": "ex:tags", "@container": "@set"},
                "steps": {"@id": "ex:steps", "@container": "@list"},
                "label": {"@id": "ex:label", "@container": "@language"},
                "raw": {"@id": "ex:raw", "@type": "@json"},
                "level": {"@id": "ex:level", "@type": "@vocab"},
                "low": "ex:low",
                "german": {"@id": "ex:german", "@language": "de"},
            },
            {
                "born": "2000-01-31",
                "score": 42,
                "seen": "https://bank.example/visit",
                "tags": ["a", "b"],
                "steps": ["one", "two"],
                "label": {"en": "Account", "de": "Konto"},
                "raw": {"a/b": [1, {"ex:c": None}]},
                "level": "low",
                "german": "Konto",
            },
        ),
        ([{"@language": "en"}, VOCAB], {"unpaid": "yes"}),
        ({"@vocab": "urn:bank:terms:"}, {"unpaid": True}),
        ({"@vocab": "https://bank.example/terms/", "born": {"@type": XSD + "date"}}, {"born": "2000-01-31"}),
    ],
    ids=["vocab", "terms", "both", "everything", "language", "urn", "coerced"],
)
@pytest.mark.parametrize("suite", RDF_SUITES)
async def test_what_real_issuers_write(data: LinkedData, suite: Suite, context: Any, claims: dict[str, Any]) -> None:
    base = V2 if suite == "eddsa-rdfc-2022" else V1
    if base == V2 and "name" in claims:
        claims = {"unpaid": True}
        context = VOCAB
    signed = await sign(data, credential(context, claims, base), suite)
    assert await why_not(data, signed) == ""
    assert signed["credentialSubject"] == {"id": HOLDER.did, **claims}
    signed["credentialSubject"] = {"id": HOLDER.did, **claims, "unpaid": "changed"}
    assert await why_not(data, signed)


def test_statements_are_those_of_the_document_as_it_is() -> None:
    """Other agents sign what the document's own contexts make of it, prefixes and all."""
    context = [V1, {"ex": TERMS, "Statement": "ex:Statement", "paid": {"@id": "ex:paid", "@type": "ex:kind"}}]
    document = {"@context": context, "type": "Statement", "paid": "yes"}
    options: Any = {"documentLoader": loader({}), "format": "application/n-quads"}
    plain = {**document, "@context": read_contexts(context).context}
    assert jsonld.to_rdf(plain, options) == jsonld.to_rdf(document, options)
    assert "ex:" not in str(plain["@context"])


# Attackers. Each holds a credential that says `unpaid`, and shows another.

FORGERIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "letters moved into @vocab": ({"@vocab": TERMS + "un"}, {"paid": True}),
    "a term with another's IRI": ({"paid": TERMS + "unpaid"}, {"paid": True}),
    "the same, expanded": ({"paid": {"@id": TERMS + "unpaid"}}, {"paid": True}),
    "by a prefix": ({"ex": TERMS, "paid": "ex:unpaid"}, {"paid": True}),
    "a prefix that splits the name": ({"ex": TERMS + "un"}, {"ex:paid": True}),
    "a prefix that splits the name, in a term": ({"ex": TERMS + "un", "paid": "ex:paid"}, {"paid": True}),
    "a compact IRI as key": ({"ex": TERMS}, {"ex:unpaid": True}),
    "an IRI as key": ([], {TERMS + "unpaid": True}),
    "a key with part of the IRI": ({"@vocab": "https://bank.example/"}, {"terms#unpaid": True}),
    "an IRI as a term": ({"https://x.example/paid": TERMS + "unpaid"}, {"https://x.example/paid": True}),
    "a compact IRI as a term": ({"paid:paid": TERMS + "unpaid"}, {"paid:paid": True}),
    "a second definition": ([{"paid": TERMS + "paid"}, {"paid": TERMS + "unpaid"}], {"paid": True}),
    "a relative @vocab": ([VOCAB, {"@vocab": "un"}], {"paid": True}),
    "a relative @vocab, ended": ([{"@vocab": "https://bank.example/"}, {"@vocab": "terms#"}], {"unpaid": True}),
    "a term by another term": ([VOCAB, {"paid": "unpaid"}], {"paid": True}),
    "a term by another term's @id": ([VOCAB, {"paid": {"@id": "unpaid"}}], {"paid": True}),
    "a scoped context": (
        [VOCAB, {"Statement": {"@id": TERMS + "Statement", "@context": {"paid": TERMS + "unpaid"}}}],
        {"type": "Statement", "paid": True},
    ),
    "a scoped context of a property": (
        [VOCAB, {"account": {"@id": TERMS + "account", "@context": {"@vocab": TERMS + "un"}}}],
        {"account": {"paid": True}},
    ),
    "a context inside": ([VOCAB], {"@context": {"@vocab": TERMS + "un"}, "paid": True}),
    "@nest": ([VOCAB, {"nested": "@nest"}], {"nested": {"unpaid": True}}),
    "@nest of a term": ([VOCAB, {"unpaid": {"@id": TERMS + "unpaid", "@nest": "a"}, "a": "@nest"}], {"unpaid": True}),
    "@reverse": ([VOCAB, {"paid": {"@reverse": TERMS + "unpaid"}}], {"paid": {"id": HOLDER.did}}),
    "an alias of @id": ([VOCAB, {"self": "@id"}], {"unpaid": True}),
    "an alias of @type": ([VOCAB, {"kind": "@type"}], {"unpaid": True}),
    "an alias of @value": ([VOCAB, {"is": {"@id": "@value"}}], {"unpaid": {"is": True}}),
    "an alias of @graph": ([VOCAB, {"all": "@graph"}], {"unpaid": True}),
    "a term that is nothing": ([VOCAB, {"secret": None}], {"unpaid": True, "secret": True}),
    "a term whose IRI is nothing": ([VOCAB, {"secret": {"@id": None}}], {"unpaid": True, "secret": True}),
    "no vocabulary": ([VOCAB, {"@vocab": None}], {"unpaid": True}),
    "an empty vocabulary": ([{"@vocab": ""}], {"unpaid": True}),
    "@import": ([VOCAB, {"@import": CITIZENSHIP}], {"unpaid": True}),
    "@base": ([VOCAB, {"@base": "https://x.example/"}], {"unpaid": True}),
    "@propagate": ([VOCAB, {"@propagate": False}], {"unpaid": True}),
    "@protected": ([VOCAB, {"@protected": True, "paid": TERMS + "paid"}], {"unpaid": True}),
    "@direction": ([VOCAB, {"@direction": "rtl"}], {"unpaid": True}),
    "@index": ([VOCAB, {"unpaid": {"@id": TERMS + "unpaid", "@container": "@index"}}], {"unpaid": {"paid": True}}),
    "@container @type": ([VOCAB, {"a": {"@id": TERMS + "a", "@container": "@type"}}], {"unpaid": True}),
    "@container @id": ([VOCAB, {"a": {"@id": TERMS + "a", "@container": "@id"}}], {"unpaid": True}),
    "@container @graph": ([VOCAB, {"a": {"@id": TERMS + "a", "@container": "@graph"}}], {"unpaid": True}),
    "another meaning of a known term": ([VOCAB, {"issuer": TERMS + "issuer"}], {"unpaid": True}),
    "a prefix in place of a known term": ([VOCAB, {"issuer": TERMS}], {"unpaid": True}),
    "a term that checks read": ([VOCAB, {"StatusList2021Entry": TERMS + "StatusList2021Entry"}], {"unpaid": True}),
    "a text for a truth value": ([VOCAB, {"unpaid": {"@type": XSD + "boolean"}}], {"unpaid": "true"}),
    "a value object": ([VOCAB], {"unpaid": {"@value": "true", "@type": XSD + "boolean"}}),
    "an unknown entry": ([VOCAB, 5], {"unpaid": True}),
    "a list in the list": ([[VOCAB]], {"unpaid": True}),
    "nothing in the list": ([VOCAB, None], {"unpaid": True}),
    "@included": ([VOCAB], {"unpaid": True, "@included": [{"paid": True}]}),
    "@graph": ([VOCAB], {"@graph": [{"unpaid": True}]}),
    "a claim that nothing defines": ([{"unpaid": TERMS + "unpaid"}], {"unpaid": True, "vip": True}),
    "a claim like a keyword": ([VOCAB], {"unpaid": True, "@paid": True}),
    "a claim of null": ([VOCAB], {"unpaid": True, "paid": None}),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
async def test_forgeries(data: LinkedData, name: str) -> None:
    context, claims = FORGERIES[name]
    signed = await sign(data, credential(VOCAB, {"unpaid": True}))
    forged = copy.deepcopy(signed)
    entries = context if isinstance(context, list) else [context]
    forged["@context"] = [V1, *entries, *signed["@context"][2:]]
    forged["type"] = ["VerifiableCredential", TERMS + "Statement" if VOCAB not in entries else "Statement"]
    forged["credentialSubject"] = {"id": HOLDER.did, **claims}
    assert await why_not(data, forged)
    # Nor is it issued like this.
    with pytest.raises(FormatError) as refused:
        await sign(data, {key: value for key, value in forged.items() if key != "proof"})
    assert refused.value.code == "not-signable"


async def test_names_are_the_same_whichever_context_says_so(data: LinkedData) -> None:
    """What a holder may do: write the vocabulary as terms, or terms as a vocabulary. The names stay."""
    signed = await sign(data, credential(VOCAB, {"unpaid": True}))
    other = {"Statement": TERMS + "Statement", "unpaid": {"@id": TERMS + "unpaid"}}
    assert await why_not(data, {**signed, "@context": [V1, other, *signed["@context"][2:]]}) == ""


async def test_a_subject_that_is_shortened_to_another_did(data: LinkedData) -> None:
    """An issuer may give a credential to `https://...`; by a prefix `did` that would be shown as somebody's DID."""
    victim = "did:key:z6MkVictim"
    document = credential(VOCAB, {"unpaid": True})
    document["credentialSubject"]["id"] = "https://mallory.example/did/key:z6MkVictim"
    signed = await sign(data, document)
    for prefix in (
        {"did": "https://mallory.example/did/"},
        {"did": {"@id": "https://mallory.example/did/", "@prefix": True}},
    ):
        forged = copy.deepcopy(signed)
        forged["@context"].append(prefix)
        forged["credentialSubject"]["id"] = victim
        assert await why_not(data, forged)


async def test_values_that_are_names(data: LinkedData) -> None:
    level = {"@id": TERMS + "level", "@type": "@vocab"}
    signed = await sign(data, credential([VOCAB, {"level": level}], {"level": "notEligible"}))
    assert await why_not(data, signed) == ""
    for context, value in (
        ({"Eligible": TERMS + "notEligible"}, "Eligible"),
        ({"ex": TERMS + "not"}, "ex:Eligible"),
        ({"ex": TERMS}, "ex:notEligible"),
        ({"@vocab": TERMS + "not"}, "Eligible"),
    ):
        forged = copy.deepcopy(signed)
        forged["@context"].append(context)
        forged["credentialSubject"]["level"] = value
        assert await why_not(data, forged)


async def test_a_bundled_name_is_not_given_away(data: LinkedData) -> None:
    """`ctzn:lprNumber` is `lprNumber` in a context that is known: another name for it is a disguise."""
    document = credential(CITIZENSHIP, {"type": "PermanentResident", "lprNumber": "123"}, type_="PermanentResident")
    signed = await sign(data, document)
    forged = copy.deepcopy(signed)
    iri = "https://w3id.org/citizenship#"
    forged["@context"][1] = {"@vocab": iri}
    assert await why_not(data, forged) == ""  # the same names
    forged["@context"][1] = {"@vocab": iri + "lpr"}
    forged["credentialSubject"] = {"id": HOLDER.did, "type": iri + "PermanentResident", "Number": "123"}
    forged["type"] = ["VerifiableCredential", iri + "PermanentResident"]
    assert await why_not(data, forged)


async def test_jcs_signs_the_json_as_it_is(data: LinkedData) -> None:
    context = {"@vocab": TERMS + "un", "any": None}
    signed = await sign(data, credential(context, {"paid": True, "any/thing": 1}), "eddsa-jcs-2022")
    assert await why_not(data, signed) == ""
    signed["@context"][1] = {"@vocab": TERMS}
    assert await why_not(data, signed)


async def test_a_direction_is_not_signed(data: LinkedData) -> None:
    name = {"@value": "Acme", "@language": "en", "@direction": "ltr"}
    document = {**credential([], {}, V2, "VerifiableCredential"), "name": name}
    with pytest.raises(FormatError, match="eddsa-jcs-2022"):
        await sign(data, document, "eddsa-rdfc-2022")
    signed = await sign(data, document, "eddsa-jcs-2022")
    assert await why_not(data, signed) == ""


async def test_types_of_such_a_document(data: LinkedData) -> None:
    document: Any = {"@context": [V1, {"ex": TERMS, "Statement": "ex:Statement"}], "type": ["Statement"]}
    assert await data.types(document) == {TERMS + "Statement"}
    document["@context"][1] = {"Statement": TERMS + "NoStatement"}
    assert await data.types(document) == frozenset()


def test_how_many_terms() -> None:
    with pytest.raises(UnsafeContext, match="more than"):
        read_contexts([V1, {f"t{number}": f"{TERMS}t{number}" for number in range(1_001)}])
    # Also if names are defined again and again.
    with pytest.raises(UnsafeContext, match="more than"):
        read_contexts([V1, *[{f"t{number}": f"{TERMS}t{number}" for number in range(400)}] * 3])


LONG = "https://bank.example/" + "a" * 60_000


@pytest.mark.parametrize(
    "contexts",
    [
        [{"p": f"{LONG}/"}, {f"t{number}": f"p:t{number}" for number in range(480)}],
        [{"p": {"@id": f"{LONG}/", "@prefix": True}, "t": "p:t"}],
        [{"p": TERMS}, *[{"q": "p:" + "a" * 900 + "/"}, {"p": "q:" + "a" * 900 + "/"}] * 2],
        [{"@vocab": f"{LONG}/"}],
        [{"@vocab": TERMS, "a" * 3_000: {}}],
        [{"@language": "en-" + "a" * 60_000}],
        [{"t": {"@id": f"{TERMS}t", "@language": "en-" + "a" * 60_000}}],
        [{"t": {"@id": f"{TERMS}t", "@type": LONG}}],
    ],
    ids=["prefix", "prefix-object", "prefixes-of-prefixes", "vocab", "name", "language", "term-language", "type"],
)
def test_a_short_name_stands_for_nothing_long(contexts: list[Any]) -> None:
    """A document of 250 kB would otherwise become hundreds of megabytes of IRIs."""
    with pytest.raises(UnsafeContext, match="2000 characters"):
        read_contexts([V1, *contexts])


@pytest.mark.parametrize("suite", RDF_SUITES)
async def test_a_long_id_of_many_claims(data: LinkedData, suite: Suite) -> None:
    """Each claim's statement repeats the id: 100 kB become 500 MB."""
    document = credential(VOCAB, {f"k{number}": number for number in range(3_000)})
    document["credentialSubject"]["id"] = "did:example:" + "a" * 100_000
    with pytest.raises(FormatError, match="too long for the number of claims"):
        await sign(data, document, suite)


PUBLISHED = {
    "@version": 1.1,
    "@protected": True,
    "id": "@id",
    "type": "@type",
    "ex": TERMS,
    "xsd": {"@id": XSD, "@prefix": True},
    "Account": {
        "@id": "ex:Account",
        "@context": {"@protected": True, "id": "@id", "opened": {"@id": "ex:opened", "@type": "xsd:date"}},
    },
    "paid": {"@id": "ex:paid", "@protected": True},
}  # fmt: skip


def test_a_context_that_a_tenant_gives() -> None:
    check_published({"@context": PUBLISHED})
    check_published({"@context": [{"@vocab": TERMS}, PUBLISHED], "comment": "ours"})


@pytest.mark.parametrize(
    "context",
    [
        {"paid": TERMS + "unpaid"},
        {"@vocab": TERMS + "un"},
        {"Account": {"@id": TERMS + "Account", "@context": {"paid": TERMS + "unpaid"}}},
        {"Account": {"@id": TERMS + "Account", "@context": CITIZENSHIP}},
        {"Account": {"@id": TERMS + "Account", "@context": None}},
        {"Account": {"@id": TERMS + "Account", "@context": {"@propagate": True}}},
        {"@import": CITIZENSHIP},
        [CITIZENSHIP],
        CITIZENSHIP,
        None,
        5,
        {"id": "@type"},
        {"name": "@id"},
        {"@protected": "yes"},
        {"paid": None},
        {"unpaid": {"@reverse": TERMS + "unpaid"}},
    ],
    ids=str,
)
def test_a_context_that_no_tenant_may_give(context: Any) -> None:
    with pytest.raises(UnsafeContext):
        check_published({"@context": context})


def test_scopes_are_bounded() -> None:
    context: Any = {"paid": TERMS + "paid"}
    for _ in range(20):
        context = {"paid": {"@id": TERMS + "paid", "@context": context}}
    with pytest.raises(UnsafeContext, match="deeply"):
        check_published({"@context": context})
