"""Signed attachments and fields: those of other agents, our own, and what must not pass for one."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from tests.unit.envelope.samples import SEEDS, VECTORS, VERKEYS, b64
from tests.unit.envelope.test_hostile import JSON
from tntcore.envelope import EnvelopeError, PrivateKey, verkey_to_did_key
from tntcore.envelope.signatures import MAX_SIGNATURES, sign_attachment, sign_field, verify_attachment, verify_field

ALICE, BOB = SEEDS["alice"], SEEDS["bob"]
# In base64 it has both characters in which the two alphabets differ.
PAYLOAD = b'{"id":"did:sov:x","a":"\xc3\xbb\xc3\xbf>>>???~~~"}'
NOW = 1_800_000_000

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def vectors(kind: str) -> list[Any]:
    return [
        pytest.param(entry, id=f"{path.stem} {entry['name']}")
        for path in sorted((VECTORS / "signatures").glob("*.json"))
        for entry in json.loads(path.read_bytes()).get(kind, ())
    ]


def encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(payload: bytes = PAYLOAD, key: PrivateKey = ALICE) -> dict[str, Any]:
    return sign_attachment(payload, key, mime_type="application/json", id="a-1")


def jws_of(attachment: Mapping[str, Any]) -> dict[str, Any]:
    jws: dict[str, Any] = attachment["data"]["jws"]
    return jws


def resigned(change: Callable[[dict[str, Any]], object], header: Any = None, key: PrivateKey = ALICE) -> dict[str, Any]:
    """An attachment whose protected header was changed before it was signed."""
    attachment = signed(key=key)
    jws = jws_of(attachment)
    protected = json.loads(b64(jws["protected"]))
    change(protected)
    text = encode(json.dumps(protected).encode())
    data = text.encode() + b"." + encode(PAYLOAD).encode()
    jws |= {"protected": text, "signature": encode(SigningKey(key.raw).sign(data).signature)}
    jws["header"] = jws["header"] if header is None else header
    return attachment


def code_of(call: Callable[..., object], *arguments: Any, **named: Any) -> str:
    with pytest.raises(EnvelopeError) as caught:
        call(*arguments, **named)
    return caught.value.code


@pytest.mark.parametrize("entry", vectors("attachments"))
def test_attachments_signed_by_other_agents(entry: Mapping[str, Any]) -> None:
    attachment = entry["attachment"]
    verified = verify_attachment(attachment)
    assert verified.signers == (entry["signer"],)
    assert verified.payload == b64decode(attachment["data"]["base64"])
    altered = deepcopy(attachment)
    altered["data"]["base64"] = b64encode(b"[" + verified.payload[1:]).decode()
    assert code_of(verify_attachment, altered) == "bad-signature"


@pytest.mark.parametrize("entry", vectors("fields"))
def test_fields_signed_by_other_agents(entry: Mapping[str, Any]) -> None:
    value, signer, timestamp = verify_field(entry["decorator"])
    assert signer == entry["signer"]
    assert value["DIDDoc"]["id"].endswith(value["DID"])
    assert 1_700_000_000 < timestamp < 1_900_000_000
    altered = {**entry["decorator"], "signer": VERKEYS["alice"]}
    assert code_of(verify_field, altered) == "bad-signature"


def test_a_signed_attachment_has_what_other_agents_ask_for() -> None:
    attachment = signed()
    kid = verkey_to_did_key(VERKEYS["alice"])
    assert attachment["@id"] == "a-1"
    assert attachment["mime-type"] == "application/json"
    text = attachment["data"]["base64"]
    assert b64decode(text, validate=True) == PAYLOAD
    assert {"+", "/", "="} <= set(text)
    jws = jws_of(attachment)
    assert jws["header"] == {"kid": kid}
    protected = json.loads(b64(jws["protected"]))
    assert protected.keys() == {"alg", "jwk"}
    assert protected["jwk"] == {"kty": "OKP", "crv": "Ed25519", "x": encode(ALICE.public.raw), "kid": kid}
    assert "=" not in jws["protected"] + jws["signature"]


def test_the_signer_is_told_and_left_to_the_caller() -> None:
    assert verify_attachment(signed(key=BOB)).signers == (VERKEYS["bob"],)
    assert verify_field(sign_field({}, BOB, NOW)).signer == VERKEYS["bob"]


@given(payload=st.binary(max_size=200), at=st.integers(0), bit=st.integers(0, 7))
def test_no_bit_of_a_signed_attachment_can_change(payload: bytes, at: int, bit: int) -> None:
    attachment = signed(payload)
    assert verify_attachment(attachment).payload == payload

    def flip(data: bytes) -> bytes:
        index = at % len(data)
        return data[:index] + bytes([data[index] ^ 1 << bit]) + data[index + 1 :]

    for name in ("protected", "signature"):
        altered = deepcopy(attachment)
        jws_of(altered)[name] = encode(flip(b64(jws_of(altered)[name])))
        assert code_of(verify_attachment, altered) in ("bad-signature", "malformed")
    if payload:
        altered = deepcopy(attachment)
        altered["data"]["base64"] = b64encode(flip(payload)).decode()
        assert code_of(verify_attachment, altered) == "bad-signature"


@pytest.mark.parametrize("spelling", [b64encode, urlsafe_b64encode])
@pytest.mark.parametrize("padding", [True, False])
def test_content_is_read_in_either_alphabet_padded_or_not(spelling: Callable[[bytes], bytes], padding: bool) -> None:
    attachment = signed()
    text = spelling(PAYLOAD).decode()
    attachment["data"]["base64"] = text if padding else text.rstrip("=")
    assert verify_attachment(attachment).payload == PAYLOAD


def test_the_key_may_stand_in_any_of_its_places() -> None:
    kid = verkey_to_did_key(VERKEYS["alice"])
    url = f"{kid}#{kid.removeprefix('did:key:')}"
    for kid_in_header in ({"kid": kid}, {"kid": url}, {}, {"kid": "did:sov:WgWxqztrNooG92RXvxSTWv#1"}):
        assert verify_attachment(resigned(lambda p: None, kid_in_header)).signers == (VERKEYS["alice"],)
    for kid_in_header in ({"kid": kid}, {"kid": url}):
        assert verify_attachment(resigned(lambda p: p.pop("jwk"), kid_in_header)).signers == (VERKEYS["alice"],)
    only_protected = resigned(lambda p: (p.pop("jwk"), p.update(kid=kid)), {})
    assert verify_attachment(only_protected).signers == (VERKEYS["alice"],)
    # A key's name in someone's key store.
    named = resigned(lambda p: p["jwk"].update(kid="9f3c"), {})
    assert verify_attachment(named).signers == (VERKEYS["alice"],)


def test_keys_that_disagree_are_refused() -> None:
    bob = verkey_to_did_key(VERKEYS["bob"])
    alice = verkey_to_did_key(VERKEYS["alice"])
    for attachment in (
        resigned(lambda p: None, {"kid": bob}),
        resigned(lambda p: p.update(kid=bob)),
        resigned(lambda p: p["jwk"].update(kid=bob), {}),
        resigned(lambda p: p.pop("jwk"), {"kid": f"{alice}#{bob.removeprefix('did:key:')}"}),
    ):
        assert code_of(verify_attachment, attachment) == "malformed"


def test_a_signature_claimed_for_another_key_is_bad() -> None:
    bob = verkey_to_did_key(VERKEYS["bob"])
    claimed = resigned(lambda p: p.pop("jwk"), {"kid": bob})
    assert code_of(verify_attachment, claimed) == "bad-signature"


def test_several_signatures_all_have_to_be_good() -> None:
    attachment, other = signed(), signed(key=BOB)
    both = [jws_of(attachment), jws_of(other)]
    attachment["data"]["jws"] = {"signatures": both}
    assert verify_attachment(attachment).signers == (VERKEYS["alice"], VERKEYS["bob"])
    attachment["data"]["jws"] = {"signatures": [both[0], {**both[1], "signature": both[0]["signature"]}]}
    assert code_of(verify_attachment, attachment) == "bad-signature"


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.pop("data"),
        lambda a: a["data"].pop("jws"),
        lambda a: a["data"].pop("base64"),
        lambda a: a["data"].update(base64="A"),
        lambda a: a["data"].update(base64=["AAAA"]),
        lambda a: a["data"].update(json={}, base64=None),
        lambda a: jws_of(a).pop("protected"),
        lambda a: jws_of(a).pop("signature"),
        lambda a: jws_of(a).update(protected=encode(b"[]")),
        lambda a: jws_of(a).update(protected=encode(b"{")),
        lambda a: jws_of(a).update(protected=encode(b"[" * 2000)),
        lambda a: jws_of(a).update(header=[]),
        lambda a: jws_of(a).update(signatures=[dict(jws_of(a))]),
        lambda a: a["data"].update(jws={"signatures": []}),
        lambda a: a["data"].update(jws={"signatures": [1]}),
        lambda a: a["data"].update(jws={"signatures": [jws_of(a)] * (MAX_SIGNATURES + 1)}),
        lambda a: jws_of(a).update(signature=encode(b64(jws_of(a)["signature"])[:-1])),
        lambda a: jws_of(a).update(signature=encode(b64(jws_of(a)["signature"]) + b"{")),
    ],
)
def test_what_is_no_signed_attachment(change: Callable[[dict[str, Any]], object]) -> None:
    attachment = signed()
    change(attachment)
    assert code_of(verify_attachment, attachment) == "malformed"


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.pop("alg"),
        lambda p: p.update(alg="none"),
        lambda p: p.update(alg="HS256"),
        lambda p: p.update(crit=["b64"], b64=False),
        lambda p: p.update(jwk=None),
        lambda p: p["jwk"].update(kty="EC"),
        lambda p: p["jwk"].update(crv="X25519"),
        lambda p: p["jwk"].update(x=encode(ALICE.public.raw[:-1])),
        lambda p: p["jwk"].pop("x"),
        lambda p: p.update(kid="did:key:z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc"),
        lambda p: p.update(kid="did:key:" + "z" * 100_000),
    ],
)
def test_signed_headers_that_are_not_accepted(change: Callable[[dict[str, Any]], object]) -> None:
    assert code_of(verify_attachment, resigned(change)) == "malformed"


def test_a_signature_that_names_no_key_is_refused() -> None:
    assert code_of(verify_attachment, resigned(lambda p: p.pop("jwk"), {})) == "malformed"


def test_a_key_of_small_order_signs_nothing() -> None:
    # With the neutral element as key, R = identity and S = 0 satisfy the equation for any message.
    neutral = (1).to_bytes(32, "little")
    attachment = resigned(lambda p: p["jwk"].update(x=encode(neutral), kid=None), {})
    jws_of(attachment)["signature"] = encode(neutral + bytes(32))
    assert code_of(verify_attachment, attachment) == "bad-signature"


@given(value=VALUES, now=st.integers(0, 2**63))
def test_a_field_comes_back_as_it_was_signed(value: Any, now: int) -> None:
    decorator = json.loads(json.dumps(sign_field(value, ALICE, now)))
    assert verify_field(decorator) == (value, VERKEYS["alice"], now)
    legacy = {**decorator, "@type": "did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/signature/1.0/ed25519Sha512_single"}
    assert verify_field(legacy) == verify_field(decorator)


def test_a_signed_field_is_eight_bytes_of_time_and_the_value() -> None:
    decorator = sign_field({"did": "x"}, ALICE, NOW)
    assert b64(decorator["sig_data"]) == NOW.to_bytes(8, "big") + b'{"did":"x"}'
    assert decorator["signer"] == VERKEYS["alice"]
    assert decorator["@type"] == "https://didcomm.org/signature/1.0/ed25519Sha512_single"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"sig_data": encode(bytes(8) + b"{}")}, "bad-signature"),
        ({"signer": VERKEYS["bob"]}, "bad-signature"),
        ({"signer": "x"}, "malformed"),
        ({"signer": None}, "malformed"),
        ({"signature": "AAAA"}, "malformed"),
        ({"sig_data": 1}, "malformed"),
        ({"@type": "https://didcomm.org/signature/1.0/other"}, "malformed"),
        ({"@type": None}, "malformed"),
    ],
)
def test_what_is_no_signed_field(change: Mapping[str, Any], code: str) -> None:
    assert code_of(verify_field, {**sign_field({}, ALICE, NOW), **change}) == code


@pytest.mark.parametrize("data", [b"", bytes(7), bytes(8), bytes(8) + b"{", bytes(8) + b"[" * 101 + b"]" * 101])
def test_signed_data_that_is_no_time_and_json(data: bytes) -> None:
    decorator = sign_field({}, ALICE, NOW)
    decorator |= {"sig_data": encode(data), "signature": encode(SigningKey(ALICE.raw).sign(data).signature)}
    assert code_of(verify_field, decorator) == "malformed"


@pytest.mark.parametrize("key", [PrivateKey("X25519", bytes(32)), PrivateKey("Ed25519", b"short")])
def test_only_ed25519_keys_sign(key: PrivateKey) -> None:
    assert code_of(signed, key=key) == "bad-key"
    assert code_of(sign_field, {}, key, NOW) == "bad-key"


HOSTILE = st.recursive(
    JSON | st.sampled_from([encode(b'{"alg":"EdDSA"}'), verkey_to_did_key(VERKEYS["alice"]), encode(bytes(64))]),
    lambda inner: st.dictionaries(
        st.sampled_from(
            ["data", "jws", "base64", "header", "kid", "protected", "signature", "signatures", "sig_data", "signer"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=8,
)


@given(value=st.dictionaries(st.sampled_from(["data", "@type", "signature", "sig_data", "signer"]), HOSTILE))
@settings(max_examples=300)
def test_whatever_arrives_only_envelope_errors_are_raised(value: dict[str, Any]) -> None:
    for verify in (verify_attachment, verify_field):
        with pytest.raises(EnvelopeError) as caught:
            verify(value)
        assert caught.value.code in ("malformed", "bad-signature")
