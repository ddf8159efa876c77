from __future__ import annotations

import base64
import json
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings

from tests.unit.envelope.samples import SEEDS, VERKEYS, v1_vectors
from tntcore.dids.multiformats import encode_verkey
from tntcore.envelope import (
    MAX_PLAINTEXT,
    MAX_RECIPIENTS,
    MAX_WIRE,
    Anoncrypt,
    Authcrypt,
    EnvelopeError,
    PrivateKey,
    Signed,
    forward_v1,
    pack_v1,
    peek,
    unpack,
    verkey_to_did_key,
)
from tntcore.strict_json import MAX_DEPTH

ALICE, BOB, CAROL = SEEDS["alice"], SEEDS["bob"], SEEDS["carol"]
BOBS = {VERKEYS["bob"]: BOB}
MESSAGE = b'{"@type":"https://didcomm.org/basicmessage/1.0/message","@id":"1","content":"x"}'


def code_of(packed: bytes | str, secrets: dict[str, PrivateKey] = BOBS) -> str:
    with pytest.raises(EnvelopeError) as refused:
        unpack(packed, secrets, {})
    return refused.value.code


def changed(packed: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    envelope = json.loads(packed)
    change(envelope)
    return json.dumps(envelope).encode()


def changed_header(packed: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    def rewrite(envelope: dict[str, Any]) -> None:
        header = json.loads(base64.urlsafe_b64decode(envelope["protected"]))
        change(header)
        envelope["protected"] = base64.urlsafe_b64encode(json.dumps(header).encode()).decode()

    return changed(packed, rewrite)


def flipped(text: str) -> str:
    raw = bytearray(base64.urlsafe_b64decode(text))
    raw[len(raw) // 2] ^= 1
    return base64.urlsafe_b64encode(raw).decode()


@given(plaintext=st.binary(max_size=3000), authenticated=st.booleans(), recipients=st.integers(1, 4))
def test_what_is_packed_opens_for_each_recipient(plaintext: bytes, authenticated: bool, recipients: int) -> None:
    keys = [PrivateKey("Ed25519", bytes([n + 1]) * 32) for n in range(recipients)]
    kids = [verkey(key) for key in keys]
    packed = pack_v1(plaintext, recipients=kids, sender=ALICE if authenticated else None)
    assert peek(packed) == (
        "v1",
        "encrypted",
        tuple(kids),
        None,
        "JWM/1.0",
        "Authcrypt" if authenticated else "Anoncrypt",
    )
    for kid, key in zip(kids, keys, strict=True):
        expected = (
            Authcrypt(plaintext, "v1", kid, VERKEYS["alice"]) if authenticated else Anoncrypt(plaintext, "v1", kid)
        )
        assert unpack(packed, {kid: key}, {}) == expected


def verkey(key: PrivateKey) -> str:
    return encode_verkey(key.public)


def test_written_padded_and_labelled_as_the_rfc_has_it() -> None:
    envelope = json.loads(pack_v1(MESSAGE + b"  ", recipients=[VERKEYS["bob"]], sender=ALICE))
    header = json.loads(base64.b64decode(envelope["protected"], altchars="-_", validate=True))
    assert header["enc"] == "xchacha20poly1305_ietf"
    recipient = header["recipients"][0]
    for part in (*envelope.values(), recipient["encrypted_key"], *list(recipient["header"].values())[1:]):
        assert len(part) % 4 == 0


def test_padding_may_be_missing() -> None:
    packed = pack_v1(MESSAGE, recipients=[VERKEYS["bob"]], sender=None)
    envelope = json.loads(packed)
    unpadded = {name: part.rstrip("=") for name, part in envelope.items() if name != "protected"}
    assert unpadded != {name: part for name, part in envelope.items() if name != "protected"}
    again = json.dumps({**unpadded, "protected": envelope["protected"]})
    assert unpack(again, BOBS, {}) == Anoncrypt(MESSAGE, "v1", VERKEYS["bob"])


@pytest.mark.parametrize("label", ["xchacha20poly1305_ietf", "chacha20poly1305_ietf"])
@pytest.mark.parametrize("nonce_size", [12, 24])
def test_the_nonce_decides_not_the_label(label: str, nonce_size: int) -> None:
    content_key, nonce = bytes(range(32)), bytes(nonce_size)
    sealed = base64.urlsafe_b64encode(bindings.crypto_box_seal(content_key, BOB.to_x25519().public.raw)).decode()
    header = {
        "enc": label,
        "typ": "JWM/1.0",
        "alg": "Anoncrypt",
        "recipients": [{"encrypted_key": sealed, "header": {"kid": VERKEYS["bob"]}}],
    }
    protected = base64.urlsafe_b64encode(json.dumps(header).encode())
    encrypt = (
        bindings.crypto_aead_chacha20poly1305_ietf_encrypt
        if nonce_size == 12
        else bindings.crypto_aead_xchacha20poly1305_ietf_encrypt
    )
    out = encrypt(MESSAGE, protected, nonce, content_key)
    parts = {"iv": nonce, "ciphertext": out[:-16], "tag": out[-16:]}
    packed = {name: base64.urlsafe_b64encode(part).decode() for name, part in parts.items()}
    opened = unpack(json.dumps({"protected": protected.decode(), **packed}), BOBS, {})
    assert opened == Anoncrypt(MESSAGE, "v1", VERKEYS["bob"])


@pytest.mark.parametrize("with_fragment", [False, True])
def test_did_key_kids(with_fragment: bool) -> None:
    did = verkey_to_did_key(VERKEYS["bob"])
    kid = f"{did}#{did.removeprefix('did:key:')}" if with_fragment else did
    assert unpack(pack_v1(MESSAGE, recipients=[kid], sender=ALICE), BOBS, {}) == Authcrypt(
        MESSAGE, "v1", VERKEYS["bob"], VERKEYS["alice"]
    )

    def spell_as_did_key(header: dict[str, Any]) -> None:
        header["recipients"][0]["header"]["kid"] = kid

    # The AAD changes with the header, so this only gets as far as the tag: the key was found and its box opened.
    packed = changed_header(pack_v1(MESSAGE, recipients=[VERKEYS["bob"]], sender=ALICE), spell_as_did_key)
    assert peek(packed).recipient_kids == (VERKEYS["bob"],)
    assert code_of(packed) == "tampered"


def test_refusals_each_with_its_code() -> None:
    good = pack_v1(MESSAGE, recipients=[VERKEYS["bob"]], sender=ALICE)
    anonymous = pack_v1(MESSAGE, recipients=[VERKEYS["bob"]], sender=None)

    def first(header: dict[str, Any]) -> dict[str, Any]:
        entry: dict[str, Any] = header["recipients"][0]
        return entry

    def break_key(header: dict[str, Any]) -> None:
        first(header)["encrypted_key"] = flipped(first(header)["encrypted_key"])

    def break_sender(header: dict[str, Any]) -> None:
        first(header)["header"]["sender"] = flipped(first(header)["header"]["sender"])

    def drop_sender(header: dict[str, Any]) -> None:
        first(header)["header"]["sender"] = None

    def claim_sender(header: dict[str, Any]) -> None:
        first(header)["header"].update(sender="AAAA", iv="AAAA")

    assert code_of(good, {VERKEYS["carol"]: CAROL}) == "wrong-key"
    assert code_of(good, {VERKEYS["bob"]: CAROL}) == "cannot-decrypt"
    assert code_of(good, {VERKEYS["bob"]: PrivateKey("X25519", bytes(32))}) == "bad-key"
    assert code_of(changed(good, lambda e: e.update(tag=flipped(e["tag"])))) == "tampered"
    assert code_of(changed(good, lambda e: e.update(ciphertext=flipped(e["ciphertext"])))) == "tampered"
    assert code_of(changed(good, lambda e: e.update(iv=flipped(e["iv"])))) == "tampered"
    assert code_of(changed(good, lambda e: e.update(iv="AAAA"))) == "malformed"
    assert code_of(changed(good, lambda e: e.pop("tag"))) == "malformed"
    assert code_of(changed(good, lambda e: e.update(tag="AAAA"))) == "malformed"
    assert code_of(changed(good, lambda e: e.update(tag="", ciphertext=""))) == "malformed"
    assert code_of(changed_header(good, break_key)) == "cannot-decrypt"
    assert code_of(changed_header(good, break_sender)) == "cannot-decrypt"
    assert code_of(changed_header(good, drop_sender)) == "malformed"
    assert code_of(changed_header(anonymous, claim_sender)) == "malformed"
    assert code_of(changed_header(good, lambda h: h.update(alg="Anoncrypt"))) == "malformed"
    assert code_of(changed_header(good, lambda h: h.update(alg="RSA"))) == "unsupported"
    assert code_of(changed_header(good, lambda h: h.update(recipients=[]))) == "malformed"
    assert code_of(changed_header(good, lambda h: h.update(recipients=h["recipients"] * 40))) == "too-many-recipients"
    assert code_of(changed_header(good, lambda h: first(h)["header"].update(kid="no verkey"))) == "malformed"


def test_a_sender_of_small_order_is_refused() -> None:
    """A box with it would have a key that everyone knows."""
    nobody = "11111111111111111111111111111111"
    sealed = bindings.crypto_box_seal(nobody.encode(), BOB.to_x25519().public.raw)

    def claim(header: dict[str, Any]) -> None:
        header["recipients"][0]["header"]["sender"] = base64.urlsafe_b64encode(sealed).decode()

    good = pack_v1(MESSAGE, recipients=[VERKEYS["bob"]], sender=ALICE)
    assert code_of(changed_header(good, claim)) == "bad-key"
    with pytest.raises(EnvelopeError, match="bad-key"):
        pack_v1(MESSAGE, recipients=[nobody], sender=ALICE)


def _signed_by_alice() -> str:
    packed: str = next(vector["packed"] for name, vector in v1_vectors() if name.endswith("signed-ascii"))
    return packed


def test_didcomm_js_signatures_are_verified() -> None:
    header, payload, signature = _signed_by_alice().split(".")
    other = base64.urlsafe_b64encode(b'{"content":"other"}').decode()
    assert code_of(f"{header}.{other}.{signature}") == "bad-signature"
    assert code_of(f"{header}.{payload}.{flipped(signature)}") == "bad-signature"
    by_bob = base64.urlsafe_b64encode(json.dumps({"alg": "EdDSA", "kid": VERKEYS["bob"]}).encode()).decode()
    assert code_of(f"{by_bob}.{payload}.{signature}") == "bad-signature"


def test_a_signature_by_another_than_the_sender_is_refused() -> None:
    packed = pack_v1(_signed_by_alice().encode(), recipients=[VERKEYS["bob"]], sender=CAROL)
    assert code_of(packed) == "addressing-signer-mismatch"


def test_a_signature_inside_an_anoncrypt_names_its_signer() -> None:
    packed = pack_v1(_signed_by_alice().encode(), recipients=[VERKEYS["bob"]], sender=None)
    opened = unpack(packed, BOBS, {})
    assert opened == Signed(opened.plaintext, "v1", VERKEYS["alice"], VERKEYS["bob"])


def test_another_compact_jws_is_a_plaintext_like_any_other() -> None:
    jwt = b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJ4In0.AAAA"
    packed = pack_v1(jwt, recipients=[VERKEYS["bob"]], sender=None)
    assert unpack(packed, BOBS, {}) == Anoncrypt(jwt, "v1", VERKEYS["bob"])
    assert code_of(jwt) == "not-json"


def test_a_deep_plaintext_is_refused_but_need_not_be_json() -> None:
    def opened(plaintext: bytes) -> bytes:
        return unpack(pack_v1(plaintext, recipients=[VERKEYS["bob"]], sender=None), BOBS, {}).plaintext

    deepest = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert opened(deepest) == deepest
    assert opened(b"{}[" * 100) == b"{}[" * 100
    for depth in (MAX_DEPTH + 2, 10_000):
        assert code_of(pack_v1(b"[" * depth + b"]" * depth, recipients=[VERKEYS["bob"]], sender=None)) == "too-deep"


def test_three_mebibytes_and_the_limits() -> None:
    plaintext = b'{"@type":"t","data":"' + b"x" * (3 * 1024 * 1024) + b'"}'
    packed = pack_v1(plaintext, recipients=[VERKEYS["bob"]], sender=ALICE)
    assert unpack(packed, BOBS, {}) == Authcrypt(plaintext, "v1", VERKEYS["bob"], VERKEYS["alice"])
    largest = pack_v1(bytes(MAX_PLAINTEXT), recipients=[VERKEYS["bob"]], sender=ALICE)
    wrapped = forward_v1(largest, to=VERKEYS["bob"], routing_keys=[VERKEYS["carol"]] * 2, new_id=lambda: "1")
    assert len(wrapped) <= MAX_WIRE
    with pytest.raises(EnvelopeError, match="too-large"):
        pack_v1(bytes(MAX_PLAINTEXT + 1), recipients=[VERKEYS["bob"]], sender=ALICE)
    assert code_of(b'{"' + b"x" * MAX_WIRE) == "too-large"


def test_recipients_are_counted_when_packing() -> None:
    for recipients in ([], [VERKEYS["bob"]] * (MAX_RECIPIENTS + 1)):
        with pytest.raises(EnvelopeError, match="too-many-recipients"):
            pack_v1(MESSAGE, recipients=recipients, sender=None)
    with pytest.raises(EnvelopeError, match="bad-key"):
        pack_v1(MESSAGE, recipients=["did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169"], sender=None)


def test_forwards_through_two_mediators() -> None:
    inner, outer = PrivateKey.generate("Ed25519"), PrivateKey.generate("Ed25519")
    inner_did = verkey_to_did_key(verkey(inner))
    routing_keys = [f"{inner_did}#{inner_did.removeprefix('did:key:')}", verkey(outer)]
    ids = count()
    packed = pack_v1(MESSAGE, recipients=[VERKEYS["bob"]], sender=ALICE)
    wrapped = forward_v1(packed, to=VERKEYS["bob"], routing_keys=routing_keys, new_id=lambda: f"id-{next(ids)}")

    first = unpack(wrapped, {verkey(outer): outer}, {})
    assert isinstance(first, Anoncrypt)
    forward = json.loads(first.plaintext)
    assert (forward["@type"], forward["@id"]) == ("https://didcomm.org/routing/1.0/forward", "id-1")
    assert forward["to"] == verkey(inner)
    second = unpack(json.dumps(forward["msg"]), {verkey(inner): inner}, {})
    assert isinstance(second, Anoncrypt)
    forward = json.loads(second.plaintext)
    assert forward["to"] == VERKEYS["bob"]
    assert unpack(json.dumps(forward["msg"]), BOBS, {}) == Authcrypt(MESSAGE, "v1", VERKEYS["bob"], VERKEYS["alice"])


def test_no_routing_keys_no_forward() -> None:
    assert forward_v1(b"{}", to=VERKEYS["bob"], routing_keys=[], new_id=lambda: "1") == b"{}"
