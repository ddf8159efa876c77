"""did:peer against three independent implementations, and against what an agent sent."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import base58
import did_peer_2
import did_peer_4
import peerdid.dids
import peerdid.keys
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tntcore.dids import peer
from tntcore.dids.build import didcomm_services
from tntcore.dids.document import MAX_DID_CHARACTERS, DidDocument, PublicKey
from tntcore.dids.endpoint import didcomm_endpoint
from tntcore.dids.multiformats import decode_multikey, encode_base58, encode_multikey, encode_verkey
from tntcore.errors import DidError

ACAPY = json.loads(
    (Path(__file__).parents[2] / "vectors" / "documents" / "peer-acapy.json").read_text(),
)["dids"]

ED = decode_multikey("z6MkqRYqQiSgvZQdnBytw86Qbs2ZWUkGv22od935YF4s8M7V")
X = decode_multikey("z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc")
OTHER_ED = decode_multikey("z6MkgoLTnTypo3tDRwCkZXSccTPHRLhF4ZnjhueYAFpEX6vg")
ENDPOINT = "https://example.org/api/didcomm"
SERVICE = {
    "type": "DIDCommMessaging",
    "serviceEndpoint": "https://example.com/endpoint",
    "routingKeys": ["did:example:somemediator#somekey"],
    "accept": ["didcomm/v2", "didcomm/aip2;env=rfc587"],
}


def element(value: object) -> str:
    return ".S" + base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_numalgo_0_against_peerdid() -> None:
    did = "did:peer:0" + encode_multikey(ED)
    assert did == peerdid.dids.create_peer_did_numalgo_0(peerdid.keys.Ed25519VerificationKey(ED.raw))
    theirs: dict[str, Any] = json.loads(peerdid.dids.resolve_peer_did(did).to_json())  # type: ignore[no-untyped-call]
    ours = peer.resolve(did)
    for name, found in (("authentication", ours.authentication), ("assertionMethod", ours.authentication)):
        assert [ours.method(kid).key for kid in theirs[name]] == [ours.method(kid).key for kid in found]  # type: ignore[union-attr]
    assert [ours.methods[kid].key.curve for kid in ours.key_agreement] == ["X25519"]
    assert ours.method(f"{did}#6MkqRYqQiSgvZQdnBytw86Qbs2ZWUkGv22od935YF4s8M7V") is ours.methods[ours.authentication[0]]


def test_numalgo_2_made_by_peerdid_with_its_key_ids() -> None:
    did = str(
        peerdid.dids.create_peer_did_numalgo_2(
            [peerdid.keys.X25519KeyAgreementKey(X.raw)],
            [peerdid.keys.Ed25519VerificationKey(ED.raw), peerdid.keys.Ed25519VerificationKey(OTHER_ED.raw)],
            SERVICE,
        )
    )
    theirs: dict[str, Any] = json.loads(peerdid.dids.resolve_peer_did(did).to_json())  # type: ignore[no-untyped-call]
    ours = peer.resolve(did)
    for entry in theirs["verificationMethod"]:
        found = ours.method(entry["id"])
        assert found
        assert encode_multikey(found.key) == entry["publicKeyMultibase"]
    assert [ours.method(kid).id for kid in theirs["keyAgreement"]] == list(ours.key_agreement) == [f"{did}#key-1"]  # type: ignore[union-attr]
    assert [ours.method(kid).id for kid in theirs["authentication"]] == list(ours.authentication)  # type: ignore[union-attr]
    endpoint = didcomm_endpoint(ours, "v2")
    assert endpoint.uri == SERVICE["serviceEndpoint"]
    assert list(endpoint.routing_keys) == SERVICE["routingKeys"]
    assert list(endpoint.accept) == SERVICE["accept"]


@pytest.mark.parametrize("prefix", ["", "z"])
@pytest.mark.parametrize("length", [8, None])
def test_every_old_spelling_of_a_key_id_is_found(prefix: str, length: int | None) -> None:
    did = peer.create_2([("V", ED), ("E", X)])
    document = peer.resolve(did)
    for kid, key in ((f"{did}#key-1", ED), (f"{did}#key-2", X)):
        assert document.methods[kid].key == key
        old = prefix + encode_multikey(key)[1:][:length]
        if not (prefix and length):
            assert document.method(f"{did}#{old}") is document.methods[kid]
            assert document.method(f"#{old}") is document.methods[kid]


SERVICES: list[list[dict[str, Any]]] = [
    [],
    [SERVICE],
    [{"id": "#didcomm-0", **SERVICE}],
    [SERVICE, {"type": "did-communication", "serviceEndpoint": "http://a", "recipientKeys": ["#key-1"], "priority": 1}],
    [
        {
            "type": "DIDCommMessaging",
            "serviceEndpoint": {"uri": "https://a", "routingKeys": [], "accept": ["didcomm/v2"]},
        }
    ],
    [{"type": "DIDCommMessaging", "serviceEndpoint": [{"uri": "https://a", "accept": ["didcomm/v2"]}]}] * 3,
]


@pytest.mark.parametrize("services", SERVICES, ids=range(len(SERVICES)))
def test_numalgo_2_against_did_peer_2(services: list[dict[str, Any]]) -> None:
    did = peer.create_2([("V", ED), ("E", X), ("A", OTHER_ED)], services)
    assert did == did_peer_2.generate(
        [
            did_peer_2.KeySpec.authentication(encode_multikey(ED)),
            did_peer_2.KeySpec.key_agreement(encode_multikey(X)),
            did_peer_2.KeySpec.assertion(encode_multikey(OTHER_ED)),
        ],
        services,
    )
    theirs = did_peer_2.resolve(did)
    del theirs["alsoKnownAs"]
    assert peer.resolve(did).raw == theirs


def test_numalgo_2_with_a_list_of_services_in_one_element() -> None:
    did = peer.create_2([("V", ED)]) + element(
        [{"t": "dm", "s": "https://a", "r": ["#r"]}, {"t": "dm", "s": "https://b"}]
    )
    document = peer.resolve(did)
    assert [service.endpoint for service in document.services] == ["https://a", "https://b"]
    assert [service.id for service in document.services] == [f"{did}#service", f"{did}#service-1"]
    assert document.services[0].routing_keys == ("#r",)


def test_numalgo_2_keeps_the_numbers_of_keys_of_unknown_type() -> None:
    bls = "z" + peer._encode_long(b"\xeb\x01" + bytes(96))
    document = peer.resolve(f"did:peer:2.V{bls}.V{encode_multikey(ED)}")
    assert [id_.partition("#")[2] for id_ in document.methods] == ["key-2"]


@pytest.mark.parametrize("did", ACAPY)
def test_dids_that_acapy_sent(did: str) -> None:
    document = peer.resolve(did)
    theirs = did_peer_4.resolve(did) if did.startswith("did:peer:4") else did_peer_2.resolve(did)
    assert theirs.items() >= {**document.raw, "alsoKnownAs": theirs["alsoKnownAs"]}.items()
    endpoint = didcomm_endpoint(document, "v1")
    assert endpoint.uri == theirs["service"][0]["serviceEndpoint"]
    multikey = theirs["verificationMethod"][0]["publicKeyMultibase"]
    assert endpoint.recipient_verkeys == (encode_verkey(decode_multikey(multikey)),)


def test_numalgo_4_against_did_peer_4() -> None:
    source = peer.input_document({"key-1": ED, "key-2": X}, ENDPOINT)
    did = peer.create_4(source)
    assert did == did_peer_4.encode(source)
    assert peer.short_form(did) == peer.short_form(peer.short_form(did)) == did_peer_4.long_to_short(did)
    assert peer.resolve(did).raw == did_peer_4.resolve(did)
    assert peer.resolve_4(did, short=True).raw == did_peer_4.resolve_short(did)


def test_numalgo_4_keys_are_found_by_ids_of_either_form() -> None:
    did = peer.create_4(peer.input_document({"key-1": ED, "key-2": X}, ENDPOINT))
    short = peer.short_form(did)
    for subject, document in ((did, peer.resolve(did)), (short, peer.resolve_4(did, short=True))):
        assert document.id == subject
        assert document.authentication == (f"{subject}#key-1",)
        for spelling in (did, short):
            found = document.method(f"{spelling}#key-2")
            assert found
            assert (found.id, found.controller, found.key) == (f"{subject}#key-2", subject, X)


def test_numalgo_4_cannot_carry_keys_of_another_did() -> None:
    victim = "did:web:victim.example#key-1"
    entry = {"id": victim, "type": "Multikey", "publicKeyMultibase": encode_multikey(ED)}
    document = peer.resolve(peer.create_4({"verificationMethod": [entry], "alsoKnownAs": ["did:web:victim.example"]}))
    assert document.method(victim) is None
    assert document.methods == {}


def test_both_versions_reach_a_pairwise_did() -> None:
    keys = {"key-1": ED, "key-2": X}
    four = peer.create_4(peer.input_document(keys, ENDPOINT, routing_keys=["did:key:a", "did:key:b"]))
    two = peer.create_2([("V", ED), ("E", X)], didcomm_services(ENDPOINT, "#key-1"))
    assert didcomm_endpoint(peer.resolve(four), "v2").routing_keys == ("did:key:b", "did:key:a")
    for document in (peer.resolve(peer.create_4(peer.input_document(keys, ENDPOINT))), peer.resolve(two)):
        v1, v2 = didcomm_endpoint(document, "v1"), didcomm_endpoint(document, "v2")
        assert (v1.uri, v1.recipient_verkeys) == (ENDPOINT, (encode_verkey(ED),))
        assert (v2.uri, v2.accept) == (ENDPOINT, ("didcomm/v2",))
        assert [document.methods[kid].key for kid in document.key_agreement] == [X]


def test_an_attached_document_for_a_did_peer_1() -> None:
    entry = {"id": "#1", "type": "Multikey", "controller": "#id", "publicKeyMultibase": encode_multikey(ED)}
    document = {"verificationMethod": [entry], "service": [{"id": "#s", "note": "\u00fc"}]}
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    did = "did:peer:1z" + encode_base58(b"\x12\x20" + hashlib.sha256(text.encode()).digest())
    for raw in (document, {"id": did, **document}, {**document, "id": did}):
        assert list(peer.check_1(did, raw).methods) == [f"{did}#1"]
    for other in ({**document, "id": did[:-1] + "b"}, {**document, "more": 1}, {"verificationMethod": [entry]}, {}):
        with pytest.raises(DidError, match="document-mismatch"):
            peer.check_1(did, other)
    with pytest.raises(DidError, match="malformed-did"):
        peer.check_1(did[:-1], document)
    with pytest.raises(DidError, match="not-found"):
        peer.resolve(did)


GOOD_4 = peer.create_4(peer.input_document({"key-1": ED}, ENDPOINT))
GOOD_2 = peer.create_2([("V", ED), ("E", X)], [SERVICE])


@pytest.mark.parametrize(
    ("did", "code"),
    [
        ("did:peer:", "malformed-did"),
        ("did:peer:5zabc", "malformed-did"),
        ("did:peer:1zabc", "malformed-did"),
        ("did:peer:0z6Mk", "malformed-did"),
        ("did:peer:0" + encode_multikey(ED) + "\n", "malformed-did"),
        ("did:peer:0z" + "2" * 20_000, "malformed-did"),
        ("did:peer:2", "malformed-did"),
        ("did:peer:2.", "malformed-did"),
        ("did:peer:2.Xz6Mk", "malformed-did"),
        ("did:peer:2.V6Mk", "malformed-did"),
        (GOOD_2 + "\n", "malformed-did"),
        (GOOD_2 + "#key-1", "malformed-did"),
        ("did:peer:2" + element("text"), "malformed-did"),
        ("did:peer:2" + element([["x"]]), "malformed-did"),
        ("did:peer:2" + element({"s": [[[[[[[[[[[[]]]]]]]]]]]]}), "malformed-did"),
        ("did:peer:2.Sabc", "malformed-did"),
        ("did:peer:2.Sa", "malformed-document"),
        ("did:peer:2" + (".V" + encode_multikey(ED)) * 65, "document-too-large"),
        ("did:peer:2" + element({"t": "dm", "s": "https://a"}) * 33, "document-too-large"),
        ("did:peer:2" + element([{}] * 33), "document-too-large"),
        (peer.short_form(GOOD_4), "not-found"),
        (GOOD_4[:-1] + ("1" if GOOD_4[-1] != "1" else "2"), "malformed-did"),
        (GOOD_4 + "#key-1", "malformed-did"),
        (GOOD_4 + "1" * MAX_DID_CHARACTERS, "malformed-did"),
    ],
    ids=range(24),
)
def test_what_is_refused(did: str, code: str) -> None:
    with pytest.raises(DidError, match=code):
        peer.resolve(did)


@pytest.mark.parametrize(
    "inner", [b"", b"\x80\x04", b"\x80\x04[]", b"\x80\x04{", b'{"service":[]}', b"\0\0" + b"[" * 5000]
)
def test_numalgo_4_whose_content_is_no_document(inner: bytes) -> None:
    encoded = "z" + peer._encode_long(inner).rjust(6, "1")
    with pytest.raises(DidError, match="malformed"):
        peer.resolve(f"did:peer:4{peer._hash(encoded.encode())}:{encoded}")


def test_the_input_of_numalgo_4_has_no_id() -> None:
    with pytest.raises(DidError, match="malformed-document"):
        peer.create_4({"id": "did:peer:4zQm"})


@given(st.binary(max_size=300))
@example(b"")
@example(b"\0\0\1")
def test_base58_in_steps_is_base58(data: bytes) -> None:
    assert peer._encode_long(data) == base58.b58encode(data).decode()
    assert peer._decode_long(base58.b58encode(data).decode()) == data


KEYS = st.builds(PublicKey, st.sampled_from(["Ed25519", "X25519"]), st.binary(min_size=32, max_size=32))
JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=9), lambda inner: st.lists(inner, max_size=3), max_leaves=5
)
EXTRA = st.dictionaries(st.text(max_size=5).filter(lambda name: name not in "tsra"), JSON, max_size=2)
ABSOLUTE = st.text(max_size=20).map("https://{}".format)


@given(
    st.lists(st.tuples(st.sampled_from("AEVID"), KEYS), max_size=6), st.lists(st.tuples(ABSOLUTE, EXTRA), max_size=3)
)
def test_numalgo_2_round_trip(keys: Any, services: list[tuple[str, dict[str, Any]]]) -> None:
    wanted = [{**extra, "type": "DIDCommMessaging", "serviceEndpoint": uri, "id": "#s"} for uri, extra in services]
    if not keys and not wanted:
        return
    did = peer.create_2(keys, wanted)
    document = peer.resolve(did)
    assert [each.key for each in document.methods.values()] == [key for _, key in keys]
    assert list(document.key_agreement) == [f"{did}#key-{n}" for n, (p, _) in enumerate(keys, 1) if p == "E"]
    assert list(document.authentication) == [f"{did}#key-{n}" for n, (p, _) in enumerate(keys, 1) if p == "V"]
    assert document.raw.get("service", []) == wanted


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), KEYS, max_size=5), ABSOLUTE)
def test_numalgo_4_round_trip(keys: dict[str, PublicKey], uri: str) -> None:
    did = peer.create_4(peer.input_document(keys, uri))
    document = peer.resolve(did)
    assert {id_.partition("#")[2]: each.key for id_, each in document.methods.items()} == keys
    assert {service.endpoint for service in document.services} == {uri}


@given(KEYS)
def test_numalgo_0_round_trip(key: PublicKey) -> None:
    try:
        document: DidDocument = peer.resolve("did:peer:0" + encode_multikey(key))
    except DidError:
        assert key.curve == "Ed25519"  # most random bytes are no point
        return
    assert next(iter(document.methods.values())).key == key
