from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from tntcore.dids import key, sov, web
from tntcore.dids.document import PublicKey
from tntcore.dids.endpoint import didcomm_endpoint
from tntcore.dids.multiformats import decode_multikey, decode_verkey, encode_multikey, encode_verkey
from tntcore.dids.parse import parse_document, qualify
from tntcore.errors import DidError

LEGACY = json.loads((Path(__file__).parents[2] / "vectors" / "documents" / "legacy-acapy.json").read_text())[
    "documents"
]

# The example of RFC 0360.
VERKEY = "8HH5gYEeNc3z7PYXmd54d4x6qAfCNrqQqEB3nS7Zfu7K"
MULTIKEY = "z6MkmjY8GnV5i9YTDtPETC2uUAW6ejw3nk5mXF5yci5ab7th"
X = PublicKey("X25519", bytes(range(32)))


@pytest.mark.parametrize(
    ("multikey", "curve", "authenticates", "agreement"),
    [
        # The did:key specification's own example of an Ed25519 key and the X25519 key derived from it.
        (
            "z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
            "Ed25519",
            True,
            "z6LSj72tK8brWgZja8NLRwPigth2T9QRiG1uH9oKZuKjdh9p",
        ),
        ("z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc", "X25519", False, "same"),
        ("zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme", "secp256k1", True, None),
        ("zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169", "P-256", True, "same"),
        ("z82Lm1MpAkeJcix9K8TMiLd5NMAhnwkjjCBeWHXyu3U4oT2MVJJKXkcVBgjGhnLBn2Kaau9", "P-384", True, "same"),
        (
            "z2J9gaYxrKVpdoG9A4gRnmpnRCcxU6agDtFVVBVdn1JedouoZN7SzcyREXXzWgt3gGiwpoHq7K68X4m32D8HgzG8wv3sY5j7",
            "P-521",
            True,
            "same",
        ),
    ],
)
def test_did_key(multikey: str, curve: str, authenticates: bool, agreement: str | None) -> None:
    did = key.create(decode_multikey(multikey))
    document = key.resolve(did)
    kid = f"{did}#{multikey}"
    assert document.methods[kid].key.curve == curve
    assert document.authentication == ((kid,) if authenticates else ())
    wanted = {"same": kid, None: None}.get(agreement, f"{did}#{agreement}")
    assert document.key_agreement == ((wanted,) if wanted else ())


@given(st.binary(min_size=32, max_size=32))
def test_did_key_round_trip(seed: bytes) -> None:
    public = PublicKey("Ed25519", bytes(SigningKey(seed).verify_key))
    did = key.create(public)
    assert key.resolve(did).methods[f"{did}#{encode_multikey(public)}"].key == public
    verkey = encode_verkey(public)
    for spelling in (key.verkey_to_did_key(verkey), key.verkey_to_did_key(verkey, fragment=True)):
        assert key.did_key_to_verkey(spelling) == verkey


def test_verkeys_with_and_without_fragment() -> None:
    assert key.verkey_to_did_key(VERKEY) == f"did:key:{MULTIKEY}"
    assert key.verkey_to_did_key(VERKEY, fragment=True) == f"did:key:{MULTIKEY}#{MULTIKEY}"
    other = "z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
    for did, code in (
        (f"did:key:{MULTIKEY}#{other}", "bad-key"),
        (f"did:key:{MULTIKEY}#", "bad-key"),
        ("did:key:z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc", "bad-key"),
        (VERKEY, "malformed-did"),
        ("did:key:", "malformed-did"),
        ("did:key:z6Mk", "malformed-did"),
    ):
        with pytest.raises(DidError, match=code):
            key.did_key_to_verkey(did)


def test_did_key_of_no_point_is_refused() -> None:
    with pytest.raises(DidError, match="malformed-did"):
        key.resolve("did:key:" + encode_multikey(PublicKey("Ed25519", b"\x02" + bytes(31))))


@pytest.mark.parametrize(
    ("did", "url"),
    [
        ("did:web:w3c-ccg.github.io", "https://w3c-ccg.github.io/.well-known/did.json"),
        ("did:web:w3c-ccg.github.io:user:alice", "https://w3c-ccg.github.io/user/alice/did.json"),
        ("did:web:example.com%3A3000", "https://example.com:3000/.well-known/did.json"),
        ("did:web:example.com%3a3000:user:alice", "https://example.com:3000/user/alice/did.json"),
        (
            "did:web:tnt.example:api:identity:6a1f7c0e-0000-4000-8000-000000000001",
            "https://tnt.example/api/identity/6a1f7c0e-0000-4000-8000-000000000001/did.json",
        ),
        ("did:web:localhost%3A7071:a", "https://localhost:7071/a/did.json"),
    ],
)
def test_did_web_url(did: str, url: str) -> None:
    assert web.document_url(did) == url


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_http_only_for_loopback_and_only_when_allowed(host: str) -> None:
    did = f"did:web:{host}%3A7071:api:identity:x"
    assert web.document_url(did, allow_http=True) == f"http://{host}:7071/api/identity/x/did.json"
    assert web.document_url("did:web:example.com", allow_http=True).startswith("https://")
    with pytest.raises(DidError, match="malformed-did"):
        web.document_url("did:web:127.0.0.1")


@pytest.mark.parametrize(
    "rest",
    [
        "",
        ":a",
        "a..b",
        "-a.com",
        "a.com:",
        "a.com::b",
        "a.com:..:b",
        "a.com:%2e%2E",
        "a.com:a%2fb",
        "a.com:a%5Cb",
        "a.com:%00",
        "a.com/b",
        "a.com?x",
        "a.com#x",
        "u@a.com",
        "a.com%3A",
        "a.com%3A0",
        "a.com%3A99999",
        "a.com%3A１",
        "a.com%3A80%3A80",
        "10.0.0.1",
        "169.254.169.254",
        "2130706433",
        "0x7f.0.0.1",
        "[::1]",
        "%5B::1%5D",
        "a.com%00",
        "a.com\n",
        "é.com",
        "a" * 64 + ".com",
        "a." * 130 + "com",
        "a.com%3A" + "9" * 5000,
        "a.com:%zz",
        "a.com:%",
        "a.com: ",
    ],
)
def test_malformed_did_web(rest: str) -> None:
    with pytest.raises(DidError, match="malformed-did"):
        web.document_url("did:web:" + rest)


@pytest.mark.parametrize(
    ("base", "did"),
    [
        ("https://tnt.example", "did:web:tnt.example:api:identity:1"),
        ("https://tnt.example:8443/", "did:web:tnt.example%3A8443:api:identity:1"),
        ("https://tnt.example/prefix/", "did:web:tnt.example:prefix:api:identity:1"),
        ("http://127.0.0.1:7071", "did:web:127.0.0.1%3A7071:api:identity:1"),
    ],
)
def test_did_web_for_our_base_url(base: str, did: str) -> None:
    assert web.did_web_for(base, "api", "identity", "1") == did
    assert web.document_url(did, allow_http=True) == f"{base.rstrip('/')}/api/identity/1/did.json"


@pytest.mark.parametrize("base", ["", "tnt.example", "https://", "https://a:b", "https://10.0.0.1", "https://[::1"])
def test_base_urls_that_cannot_be_a_did_web(base: str) -> None:
    with pytest.raises(DidError, match="malformed-did"):
        web.did_web_for(base, "api")


@pytest.mark.parametrize("segment", ["", "..", "a/b", "a b", "a%2fb"])
def test_did_web_for_refuses_odd_segments(segment: str) -> None:
    with pytest.raises(DidError, match="malformed-did"):
        web.did_web_for("https://a.example", segment)


def test_the_document_of_an_identity_reads_as_meant() -> None:
    did = "did:web:tnt.example:api:identity:1"
    ed = decode_verkey(VERKEY)
    raw = web.identity_document(
        did, {"key-1": ed, "key-2": X}, "https://tnt.example/api/didcomm", also_known_as=["did:x:y"]
    )
    document = parse_document(raw, did)
    assert {id_: each.key for id_, each in document.methods.items()} == {f"{did}#key-1": ed, f"{did}#key-2": X}
    assert raw["authentication"] == raw["assertionMethod"] == [f"{did}#key-1"]
    assert document.key_agreement == (f"{did}#key-2",)
    assert document.also_known_as == ("did:x:y",)
    v1, v2 = didcomm_endpoint(document, "v1"), didcomm_endpoint(document, "v2")
    assert v1.uri == v2.uri == "https://tnt.example/api/didcomm"
    assert v1.recipient_verkeys == (VERKEY,)
    assert v1.accept == ("didcomm/aip1", "didcomm/aip2;env=rfc19")
    assert raw["service"][0]["priority"] == 0
    only_v2 = web.identity_document(did, {"key-1": ed, "key-2": X}, "https://a", versions=["v2"])
    assert [service["type"] for service in only_v2["service"]] == ["DIDCommMessaging"]
    assert "service" not in web.identity_document(did, {"key-1": ed}, None)


def test_a_legacy_document_of_ours() -> None:
    did = sov.create(VERKEY)
    raw = sov.legacy_document(did, VERKEY, "https://tnt.example/api/didcomm", routing_keys=[VERKEY])
    assert raw["id"] == f"did:sov:{did}"
    document = parse_document(raw, did)
    assert document.authentication == (f"did:sov:{did}#1",)
    endpoint = didcomm_endpoint(document, "v1")
    assert (endpoint.recipient_verkeys, endpoint.routing_keys) == ((VERKEY,), (VERKEY,))
    assert sov.legacy_document(raw["id"], VERKEY, "https://a")["id"] == raw["id"]


@pytest.mark.parametrize("entry", LEGACY, ids=[entry["from"] for entry in LEGACY])
def test_dids_of_verkeys_are_those_that_acapy_makes(entry: dict[str, Any]) -> None:
    document = entry["document"]
    assert qualify(sov.create(document["publicKey"][0]["publicKeyBase58"])) == document["id"]


@pytest.mark.parametrize("entry", LEGACY[:2], ids=[entry["from"] for entry in LEGACY[:2]])
def test_legacy_documents_are_built_as_acapy_builds_them(entry: dict[str, Any]) -> None:
    theirs = entry["document"]
    service = theirs["service"][0]
    ours = sov.legacy_document(theirs["id"], service["recipientKeys"][0], service["serviceEndpoint"])
    assert ours["service"][0].pop("routingKeys") == []
    assert ours == theirs
