"""Documents as agents really send them, and documents meant to hurt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import base58
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from tntcore.dids.document import DidDocument, PublicKey
from tntcore.dids.endpoint import didcomm_endpoint
from tntcore.dids.multiformats import decode_verkey, encode_multikey, encode_verkey
from tntcore.dids.parse import parse_document, read_document
from tntcore.errors import DidError

VECTORS = Path(__file__).parents[2] / "vectors" / "documents"
LEGACY = json.loads((VECTORS / "legacy-acapy.json").read_text())["documents"]
APPENDIX = json.loads((VECTORS / "didcomm-v2-appendix.json").read_text())["documents"]

DID = "did:example:123"
VERKEY = "FxfdY3DCQxVZddKGAtSjZdFW9bCCW7oRwZn1NFJ2Tbg2"
ED = decode_verkey(VERKEY)
X = PublicKey("X25519", bytes(range(32)))
DID_KEY = "did:key:" + encode_multikey(ED)
MEDIATOR = "did:key:z6Mkh49n5sWYwUXkEw4MFnSQEm1h8tqcb9dW64KwmdgX9ZNf"


def method(id_: str = "#1", **material: Any) -> dict[str, Any]:
    return {"id": id_, "type": "Multikey", "controller": DID, **material}


def document(**parts: Any) -> DidDocument:
    return parse_document({"id": DID, **parts})


@pytest.mark.parametrize("entry", LEGACY, ids=[entry["from"] for entry in LEGACY])
def test_legacy_documents_of_acapy(entry: dict[str, Any]) -> None:
    raw = entry["document"]
    read = parse_document(raw)
    verkey = raw["publicKey"][0]["publicKeyBase58"]
    assert read.id == raw["id"]
    assert [encode_verkey(m.key) for m in read.methods.values()] == [verkey]
    assert read.authentication == (raw["id"] + "#1",)
    endpoint = didcomm_endpoint(read, "v1")
    assert endpoint.uri == raw["service"][0]["serviceEndpoint"]
    assert endpoint.recipient_verkeys == (verkey,)
    with pytest.raises(DidError, match="no-endpoint"):
        didcomm_endpoint(read, "v2")


def test_a_legacy_document_behind_a_mediator_has_its_verkey_as_routing_key() -> None:
    routed = [entry["document"] for entry in LEGACY if entry["document"]["service"][0].get("routingKeys")]
    assert routed
    for raw in routed:
        (routing,) = didcomm_endpoint(parse_document(raw), "v1").routing_keys
        assert encode_multikey(decode_verkey(routing)) == raw["service"][0]["routingKeys"][0].split("#")[1]


def test_legacy_document_with_unqualified_and_bare_ids() -> None:
    did = "WgWxqztrNooG92RXvxSTWv"
    raw = {
        "@context": "https://w3id.org/did/v1",
        "id": did,
        "publicKey": [
            {"id": "1", "type": "Ed25519VerificationKey2018", "controller": did, "publicKeyBase58": VERKEY},
            {"id": f"{did}#2", "type": "RsaVerificationKey2018", "controller": did, "publicKeyPem": "-----"},
        ],
        "authentication": [{"type": "Ed25519SignatureAuthentication2018", "publicKey": f"{did}#1"}],
        "service": [{"id": f"{did};indy", "type": "IndyAgent", "recipientKeys": ["#1"], "serviceEndpoint": "http://a"}],
    }
    read = parse_document(raw, did)
    assert read.id == f"did:sov:{did}"
    assert list(read.methods) == [f"did:sov:{did}#1"]
    assert read.methods[f"did:sov:{did}#1"].controller == read.id
    assert read.authentication == (f"did:sov:{did}#1",)
    assert read.services[0].id == f"did:sov:{did};indy"
    assert didcomm_endpoint(read, "v1").recipient_verkeys == (VERKEY,)
    assert parse_document(raw, f"did:sov:{did}").id == read.id


@pytest.mark.parametrize("raw", APPENDIX, ids=[raw["id"] for raw in APPENDIX])
def test_documents_of_the_didcomm_specification(raw: dict[str, Any]) -> None:
    read = parse_document(raw)
    assert list(read.methods) == [entry["id"] for entry in raw["verificationMethod"]]
    for entry in raw["verificationMethod"]:
        assert read.methods[entry["id"]].key.curve == entry.get("publicKeyJwk", {"crv": "X25519"})["crv"]
    assert set(read.key_agreement) <= set(raw["keyAgreement"])
    # One key agreement entry of alice's refers to nothing.
    assert all(read.method(kid) for kid in read.key_agreement + read.authentication)


P256 = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()


@pytest.mark.parametrize(
    ("material", "key"),
    [
        ({"publicKeyMultibase": encode_multikey(ED)}, ED),
        ({"type": "Ed25519VerificationKey2020", "publicKeyMultibase": encode_multikey(ED)}, ED),
        ({"type": "Ed25519VerificationKey2020", "publicKeyMultibase": "z" + VERKEY}, ED),
        ({"type": "Ed25519VerificationKey2018", "publicKeyBase58": VERKEY}, ED),
        ({"type": "X25519KeyAgreementKey2019", "publicKeyBase58": base58.b58encode(X.raw).decode()}, X),
        ({"type": "X25519KeyAgreementKey2020", "publicKeyMultibase": encode_multikey(X)}, X),
        (
            {
                "type": "JsonWebKey2020",
                "publicKeyJwk": {"kty": "OKP", "crv": "X25519", "x": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="},
            },
            X,
        ),
        # left out
        ({"type": "Ed25519VerificationKey2020", "publicKeyMultibase": encode_multikey(X)}, None),
        ({"type": "RsaVerificationKey2018", "publicKeyBase58": VERKEY}, None),
        ({"type": "Ed25519VerificationKey2018", "publicKeyBase58": VERKEY[:-3]}, None),
        ({"type": "Ed25519VerificationKey2018", "publicKeyBase58": "0OIl"}, None),
        ({"type": ["Multikey"], "publicKeyMultibase": 7}, None),
        ({"publicKeyMultibase": "z" + "2" * 5000}, None),
        ({"publicKeyJwk": {"crv": "P-256", "x": "AA", "y": "AA"}}, None),
        ({"publicKeyJwk": {"crv": "P-256", "x": "A" * 43, "y": "A" * 43}}, None),
        ({"publicKeyJwk": {"crv": "P-256", "x": "A" * 43}}, None),
        ({"publicKeyJwk": {"crv": ["P-256"], "x": "A" * 43}}, None),
        ({}, None),
    ],
)
def test_forms_of_a_key(material: dict[str, Any], key: PublicKey | None) -> None:
    found = document(verificationMethod=[method(**material)]).method(f"{DID}#1")
    assert (found and found.key) == key


def test_relationships_embedded_referenced_relative_and_dangling() -> None:
    read = document(
        verificationMethod=[method("#1", publicKeyMultibase=encode_multikey(ED))],
        authentication=["#1", f"{DID}#1", "#none", 5, "did:example:other#1"],
        keyAgreement=[method(f"{DID}#2", publicKeyMultibase=encode_multikey(X))],
        assertionMethod=[method("#3", publicKeyMultibase=encode_multikey(ED))],
    )
    assert list(read.methods) == [f"{DID}#1", f"{DID}#2", f"{DID}#3"]
    assert read.authentication == (f"{DID}#1",)
    assert read.key_agreement == (f"{DID}#2",)
    assert read.method("#2") is read.methods[f"{DID}#2"]
    assert read.method("#none") is None


@pytest.mark.parametrize("foreign", ["did:example:1234#1", "did:example:other#1", "did:example:12#1"])
def test_a_document_speaks_for_no_other_did(foreign: str) -> None:
    read = document(authentication=[method(foreign, publicKeyMultibase=encode_multikey(ED))])
    assert read.methods == {}
    assert read.authentication == ()


def test_two_keys_under_one_id_are_refused() -> None:
    with pytest.raises(DidError, match="malformed-document"):
        document(
            verificationMethod=[method(publicKeyMultibase=encode_multikey(ED))],
            authentication=[method(publicKeyMultibase=encode_multikey(X))],
        )


def test_the_id_must_be_the_did_asked_for() -> None:
    with pytest.raises(DidError, match="document-mismatch"):
        parse_document({"id": DID}, "did:example:1234")
    assert parse_document({}, DID).id == DID
    for raw in ({}, {"id": 7}, {"id": "nothing"}, {"id": "did:example:a#1"}, {"id": "did:example:a\n"}):
        with pytest.raises(DidError):
            parse_document(raw)


def test_limits() -> None:
    key = encode_multikey(ED)
    many = [method(f"#{n}", publicKeyMultibase=key) for n in range(65)]
    service = {"type": "IndyAgent", "serviceEndpoint": "http://a"}
    assert len(document(verificationMethod=many[:64]).methods) == 64
    assert len(document(service=[service] * 32).services) == 32
    for parts in (
        {"verificationMethod": many},
        {"verificationMethod": many[:60], "authentication": many[:5]},
        {"verificationMethod": [{"id": "#1"}] * 65},
        {"service": [service] * 33},
        {"service": [{"type": "LinkedDomains", "serviceEndpoint": "http://a"}] * 33},
        {"service": [service | {"serviceEndpoint": ["http://a"] * 33}]},
        {"service": [service | {"recipientKeys": [VERKEY] * 33}]},
        {"comment": "x" * 128 * 1024},
    ):
        with pytest.raises(DidError, match="document-too-large"):
            document(**parts)
    with pytest.raises(DidError, match="document-too-large"):
        read_document(b" " * (128 * 1024 + 1))


@pytest.mark.parametrize("data", [b"", b"[]", b"7", b"{", b"\xff", b"[" * 10_000 + b"]" * 10_000])
def test_what_is_no_document(data: bytes) -> None:
    with pytest.raises(DidError, match="malformed-document"):
        read_document(data)


def test_deep_nesting_in_a_mapping_is_refused() -> None:
    raw: dict[str, Any] = {"id": DID}
    for _ in range(10_000):
        raw = {"id": DID, "x": raw}
    with pytest.raises(DidError, match="malformed-document"):
        parse_document(raw)


FIELD = st.sampled_from(
    [
        "id",
        "type",
        "controller",
        "publicKey",
        "publicKeyJwk",
        "publicKeyBase58",
        "publicKeyMultibase",
        "crv",
        "x",
        "y",
        "serviceEndpoint",
        "uri",
        "accept",
        "routingKeys",
        "recipientKeys",
        "priority",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**60) | st.text(max_size=8) | st.sampled_from([DID, "#1", VERKEY]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(FIELD | st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
PART = st.sampled_from(["verificationMethod", "publicKey", "authentication", "keyAgreement", "service", "alsoKnownAs"])


@given(st.dictionaries(PART, JSON, max_size=6))
def test_no_json_makes_reading_fail_otherwise(parts: dict[str, Any]) -> None:
    try:
        read = document(**parts)
        didcomm_endpoint(read, "v1")
    except DidError:
        return


V1 = {"id": "#v1", "type": "did-communication", "recipientKeys": [DID_KEY], "serviceEndpoint": "https://v1"}
V2 = {"id": "#v2", "type": "DIDCommMessaging", "serviceEndpoint": {"uri": "https://v2", "routingKeys": [MEDIATOR]}}


def test_endpoint_by_version() -> None:
    read = document(service=[V2, V1])
    assert didcomm_endpoint(read, "v1").uri == "https://v1"
    assert didcomm_endpoint(read, "v1").recipient_verkeys == (VERKEY,)
    v2 = didcomm_endpoint(read, "v2")
    assert (v2.uri, v2.routing_keys, v2.recipient_verkeys) == ("https://v2", (MEDIATOR,), ())


@pytest.mark.parametrize(
    ("services", "version", "uri"),
    [
        ([V1 | {"priority": 1}, V1 | {"serviceEndpoint": "https://first", "priority": 0}], "v1", "https://first"),
        ([V1 | {"serviceEndpoint": "wss://a"}, V1], "v1", "https://v1"),
        ([V1 | {"serviceEndpoint": "didcomm:transport/queue"}], "v1", None),
        ([V1 | {"recipientKeys": [encode_multikey(X)]}], "v1", None),
        ([V1 | {"routingKeys": [VERKEY] * 9}, V1 | {"serviceEndpoint": "https://next"}], "v1", "https://next"),
        ([V2 | {"serviceEndpoint": {"uri": "https://v2", "routingKeys": [MEDIATOR] * 9}}], "v2", None),
        ([V1 | {"routingKeys": ["did:example:mediator#1"]}], "v1", None),
        ([V1 | {"accept": ["didcomm/v2"]}], "v1", None),
        ([V1 | {"accept": ["didcomm/v2"]}], "v2", "https://v1"),
        ([V1 | {"accept": ["didcomm/v2", "didcomm/aip2;env=rfc19"]}], "v1", "https://v1"),
        (
            [V2 | {"serviceEndpoint": [{"uri": "wss://a"}, {"uri": "https://b", "accept": ["didcomm/v2"]}]}],
            "v2",
            "https://b",
        ),
        (
            [V2 | {"serviceEndpoint": "https://plain", "routingKeys": [], "accept": ["didcomm/v2"]}],
            "v2",
            "https://plain",
        ),
        ([V2 | {"serviceEndpoint": "did:example:mediator"}], "v2", "did:example:mediator"),
        ([V2 | {"type": ["Other", "DIDCommMessaging"]}], "v2", "https://v2"),
        ([V2 | {"accept": ["didcomm/aip1"]}], "v2", None),
        ([{"id": "#x", "type": "LinkedDomains", "serviceEndpoint": "https://a"}], "v2", None),
        ([], "v1", None),
    ],
)
def test_choice_of_a_service(services: list[dict[str, Any]], version: Any, uri: str | None) -> None:
    read = document(service=services)
    if uri is None:
        with pytest.raises(DidError, match="no-endpoint"):
            didcomm_endpoint(read, version)
    else:
        assert didcomm_endpoint(read, version).uri == uri


@pytest.mark.parametrize("reference", [VERKEY, DID_KEY, f"{DID_KEY}#{DID_KEY[8:]}", "#1", f"{DID}#1"])
def test_forms_of_a_recipient_key(reference: str) -> None:
    read = document(
        verificationMethod=[method(publicKeyMultibase=encode_multikey(ED))],
        service=[V1 | {"recipientKeys": [reference], "routingKeys": [reference]}],
    )
    endpoint = didcomm_endpoint(read, "v1")
    assert (endpoint.recipient_verkeys, endpoint.routing_keys) == ((VERKEY,), (VERKEY,))


def test_without_recipient_keys_those_of_authentication_receive() -> None:
    read = document(
        authentication=[method(publicKeyMultibase=encode_multikey(ED))],
        service=[{"id": "#v1", "type": "did-communication", "serviceEndpoint": "https://v1"}],
    )
    assert didcomm_endpoint(read, "v1").recipient_verkeys == (VERKEY,)
