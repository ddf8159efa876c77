from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tntcore.dids.document import PublicKey
from tntcore.dids.multiformats import decode_base58, decode_multikey, decode_verkey, encode_multikey, encode_verkey
from tntcore.errors import DidError

# One of each from the did:key specification's examples.
MULTIKEYS = {
    "z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH": "Ed25519",
    "z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc": "X25519",
    "zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme": "secp256k1",
    "zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169": "P-256",
    "z82Lm1MpAkeJcix9K8TMiLd5NMAhnwkjjCBeWHXyu3U4oT2MVJJKXkcVBgjGhnLBn2Kaau9": "P-384",
    "z2J9gaYxrKVpdoG9A4gRnmpnRCcxU6agDtFVVBVdn1JedouoZN7SzcyREXXzWgt3gGiwpoHq7K68X4m32D8HgzG8wv3sY5j7": "P-521",
}


@pytest.mark.parametrize(("text", "curve"), MULTIKEYS.items())
def test_multikeys_of_the_specification(text: str, curve: str) -> None:
    key = decode_multikey(text)
    assert key.curve == curve
    assert encode_multikey(key) == text


def test_verkey_and_multikey_of_one_key() -> None:
    key = decode_verkey("CbhE5EGNZGYVvxwPqurHc7Zt3SA6Hc27KixwNTizci5r")
    assert encode_multikey(key) == "z6Mkr3xGfUWotp2y3Tn6XUp8TD7ss1RwhVGU1jssCjh1XvsE"
    assert encode_verkey(key) == "CbhE5EGNZGYVvxwPqurHc7Zt3SA6Hc27KixwNTizci5r"


def test_only_an_ed25519_key_is_a_verkey() -> None:
    with pytest.raises(DidError, match="bad-key"):
        encode_verkey(PublicKey("X25519", bytes(32)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "z",
        "zz",
        "m7QFs",
        "z6Mk",
        "z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvkt0",
        "z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH\n",
        "zé",
        "z" + "1" * 200,
    ],
)
def test_malformed_multikeys(text: str) -> None:
    with pytest.raises(DidError, match="bad-key"):
        decode_multikey(text)


def test_a_point_off_its_curve_is_refused() -> None:
    with pytest.raises(DidError, match="bad-key"):
        encode_multikey(PublicKey("P-256", b"\x04" + bytes(63) + b"\x01"))


@pytest.mark.parametrize("text", ["", "2", "CbhE5EGNZGYVvxwPqurHc7Zt3SA6Hc27KixwNTizc", "0OIl", "1" * 129])
def test_malformed_verkeys(text: str) -> None:
    with pytest.raises(DidError, match="bad-key"):
        decode_verkey(text)


@given(st.text())
def test_nothing_but_a_did_error_for_any_text(text: str) -> None:
    for read in (decode_base58, decode_verkey, decode_multikey):
        with suppress(DidError):
            read(text)
