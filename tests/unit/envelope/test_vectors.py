"""Every message in tests/vectors opens, or is refused for the right reason."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from base58 import b58decode

from tests.unit.envelope.samples import (
    ALICE,
    ATTACKS,
    BOB,
    BOBS_SECRETS,
    DOCUMENTS,
    SEEDS,
    V1_KEYS,
    VERKEYS,
    document,
    load,
    open_as_bob,
    private_of,
    public_of,
    v1_vectors,
    v2_vectors,
)
from tntcore.envelope import Anoncrypt, Authcrypt, EnvelopeError, Plaintext, PrivateKey, Signed, peek, unpack

V1 = v1_vectors()
V2 = v2_vectors()
EXPECTED = load("v2/plaintext.json")
SPEC = load("v2/spec-appendix-vectors.json")

ATTACK_CODES = {
    "from-mismatch authcrypt (from=carol, skid=alice)": "addressing-from-mismatch",
    "from-missing authcrypt": "addressing-from-missing",
    "to-mismatch authcrypt (to=carol)": "addressing-to-mismatch",
    "from-mismatch signed (from=carol, kid=alice)": "addressing-signer-mismatch",
    "zip DEF small": "zip-refused",
    "zip DEF bomb 200MB": "zip-refused",
    "epk all-zero X25519": "low-order-epk",
    "deep nested JSON plaintext": "too-deep",
}
ATTACKS_THAT_OPEN = {"anoncrypt with from=carol", "signed by alice inside authcrypt by alice ok-control"}


def _ids(vectors: list[tuple[str, Mapping[str, Any]]]) -> list[str]:
    return [name for name, _ in vectors]


def _as_v1_kid(name: str | None) -> str | None:
    return None if name is None else VERKEYS[name]


def test_no_vector_went_missing() -> None:
    assert len(V1) == 14 + 8 + 5 + 8 + 8 + 8
    assert len(V2) == 35 + 19
    assert set(ATTACKS) == set(ATTACK_CODES) | ATTACKS_THAT_OPEN


@pytest.mark.parametrize("vector", [v for _, v in V1], ids=_ids(V1))
def test_v1_opens_for_every_recipient(vector: Mapping[str, Any]) -> None:
    signer = VERKEYS["alice"] if "nonrepudiable" in vector["name"] else None
    header = peek(vector["packed"].encode())
    assert header.version == "v1"
    assert header.recipient_kids == tuple(VERKEYS[name] for name in vector["recipients"])
    if not vector["recipients"]:
        assert unpack(vector["packed"], {}, {}) == Signed(vector["plaintext"].encode(), "v1", VERKEYS["alice"])
    for name in vector["recipients"]:
        opened = unpack(vector["packed"], {VERKEYS[name]: SEEDS[name]}, {})
        assert isinstance(opened, Authcrypt if vector["sender"] else Anoncrypt)
        if "plaintext_json" in vector:
            assert json.loads(opened.plaintext) == vector["plaintext_json"]
        else:
            assert opened.plaintext.decode() == vector["plaintext"]
        assert opened.recipient_kid == VERKEYS[name]
        assert getattr(opened, "sender_kid", None) == _as_v1_kid(vector["sender"])
        assert getattr(opened, "signer_kid", None) == signer


def test_v1_forgery_by_a_co_recipient_opens_as_the_claimed_sender() -> None:
    """Nothing on the receiving side can tell: carol, the other recipient, wrote this. It is why one envelope is written
    per recipient, and why a connection has its own key."""
    vector = load("v1/negative-corecipient-forgery.json")
    opened = unpack(vector["packed"], {VERKEYS["bob"]: SEEDS["bob"]}, {})
    assert isinstance(opened, Authcrypt)
    assert opened.sender_kid == VERKEYS[vector["claimed_sender"]] == VERKEYS["alice"]
    assert opened.plaintext.decode() not in V1_KEYS["plaintexts"].values()


@pytest.mark.parametrize("vector", [v for _, v in V2], ids=_ids(V2))
def test_v2_opens(vector: Mapping[str, Any]) -> None:
    opened = open_as_bob(vector["packed"])
    name = vector["name"]
    if vector["kind"] == "signed":
        assert isinstance(opened, Signed)
        assert opened.recipient_kid is None
    elif vector["sender"] is None:
        assert isinstance(opened, Anoncrypt)
    else:
        assert isinstance(opened, Authcrypt)
        curve = next(curve for curve in ("x25519", "p256", "p384", "p521") if f" {curve} " in f" {name} ")
        assert opened.sender_kid == f"{ALICE}#key-{curve}-1"
        assert opened.recipient_kid == f"{BOB}#key-{curve}-1"
    signer = next(
        (f"{ALICE}#key-{key}-1" for key in ("ed25519", "sigp256", "secp256k1") if f"signed {key}" in name), None
    )
    assert getattr(opened, "signer_kid", None) == signer
    message = json.loads(opened.plaintext)
    for member in ("id", "type", "from", "to", "body", "created_time"):
        assert message[member] == EXPECTED[member]


@pytest.mark.parametrize(("name", "code"), ATTACK_CODES.items())
def test_v2_attacks_are_refused_each_for_its_own_reason(name: str, code: str) -> None:
    began = time.process_time()
    with pytest.raises(EnvelopeError) as refused:
        open_as_bob(ATTACKS[name])
    assert refused.value.code == code
    # The bomb would take seconds and 200 MB.
    assert time.process_time() - began < 0.5


def test_v2_anoncrypt_with_a_from_is_attributed_to_nobody() -> None:
    opened = open_as_bob(ATTACKS["anoncrypt with from=carol"])
    assert json.loads(opened.plaintext)["from"] == "did:example:carol"
    assert opened == Anoncrypt(opened.plaintext, "v2", f"{BOB}#key-x25519-1")


def test_v2_control_among_the_attacks() -> None:
    opened = open_as_bob(ATTACKS["signed by alice inside authcrypt by alice ok-control"])
    assert isinstance(opened, Authcrypt)
    assert opened.sender_kid == f"{ALICE}#key-x25519-1"
    assert opened.signer_kid == f"{ALICE}#key-ed25519-1"


def _spec_secret(material: Any) -> PrivateKey:
    # One of bob's keys is a Multikey: the multicodec of an X25519 private key has two bytes.
    return private_of(material) if isinstance(material, dict) else PrivateKey("X25519", b58decode(material[1:])[2:34])


SPEC_SECRETS = {kid: _spec_secret(entry["jwk"]) for kid, entry in SPEC["secrets"].items() if kid.startswith(BOB + "#")}


def _spec_document(name: str) -> Any:
    raw = SPEC["did_docs"][name]
    keys = {method["id"]: public_of(method["publicKeyJwk"]) for method in raw["verificationMethod"]}
    return document(
        raw["id"],
        {kid: keys[kid] for kid in raw["keyAgreement"] if kid in keys},
        {kid: keys[kid] for kid in raw["authentication"]},
    )


SPEC_DOCUMENTS = {ALICE: _spec_document("DID_DOC_ALICE_SPEC_TEST_VECTORS")}
SPEC_MESSAGES = {name.split(".")[1]: text for name, text in SPEC["messages"].items() if isinstance(text, str)}
SPEC_RESULTS = {
    "TEST_ENCRYPTED_DIDCOMM_MESSAGE_ANON_XC20P_1": Anoncrypt,
    "TEST_ENCRYPTED_DIDCOMM_MESSAGE_ANON_XC20P_2": Anoncrypt,
    "TEST_ENCRYPTED_DIDCOMM_MESSAGE_ANON_A256CBC": Anoncrypt,
    "TEST_ENCRYPTED_DIDCOMM_MESSAGE_ANON_A256GCM": Anoncrypt,
    "TEST_ENCRYPTED_DIDCOMM_MESSAGE_AUTH_X25519": Authcrypt,
    "TEST_ENCRYPTED_DIDCOMM_MESSAGE_AUTH_P256": Authcrypt,
    "TEST_ENCRYPTED_DIDCOMM_MESSAGE_AUTH_P256_SIGNED": Signed,
    "TEST_ENCRYPTED_DIDCOMM_MESSAGE_AUTH_P521": Authcrypt,
    "TEST_ENCRYPTED_DIDCOMM_MESSAGE_AUTH_P521_SIGNED": Signed,
    "TEST_PLAINTEXT_DIDCOMM_MESSAGE_SIMPLE": Plaintext,
    "TEST_SIGNED_DIDCOMM_MESSAGE_ALICE_KEY_1": Signed,
    "TEST_SIGNED_DIDCOMM_MESSAGE_ALICE_KEY_2": Signed,
    "TEST_SIGNED_DIDCOMM_MESSAGE_ALICE_KEY_3": Signed,
}


@pytest.mark.parametrize("name", SPEC_MESSAGES)
def test_the_specifications_own_messages(name: str) -> None:
    packed = SPEC_MESSAGES[name]
    expected = json.loads(SPEC_MESSAGES["TEST_PLAINTEXT_DIDCOMM_MESSAGE_SIMPLE"])
    recipients = peek(packed.encode()).recipient_kids
    for secrets in [{kid: SPEC_SECRETS[kid]} for kid in recipients] or [{}]:
        opened = unpack(packed, secrets, SPEC_DOCUMENTS)
        assert type(opened) is SPEC_RESULTS[name]
        message = json.loads(opened.plaintext)
        assert {k: message[k] for k in ("id", "type", "from", "to", "body")} == {
            k: expected[k] for k in ("id", "type", "from", "to", "body")
        }


def test_the_specifications_nestings() -> None:
    for curve, outer in (("P256", None), ("P521", "anoncrypt")):
        packed = SPEC_MESSAGES[f"TEST_ENCRYPTED_DIDCOMM_MESSAGE_AUTH_{curve}"]
        opened = unpack(packed, SPEC_SECRETS, SPEC_DOCUMENTS)
        assert isinstance(opened, Authcrypt)
        assert opened.signer_kid == f"{ALICE}#key-1"
        assert (peek(packed.encode()).sender_kid is None) == (outer == "anoncrypt")


def test_the_specifications_lists_only_repeat_its_plain_messages() -> None:
    """They are not tested on their own for this reason."""
    lists = [entry for entries in SPEC["messages"].values() if isinstance(entries, list) for entry in entries]
    assert len(lists) == 10
    for entry in lists:
        assert any(repr(text)[1:-1] in entry for text in SPEC_MESSAGES.values())


def test_secrets_of_the_libraries_vectors_belong_to_the_documents() -> None:
    """Guards the samples: a key that never matches would make refusals pass for the wrong reason."""
    for kid, secret in BOBS_SECRETS.items():
        assert DOCUMENTS[BOB].methods[kid].key == secret.public
