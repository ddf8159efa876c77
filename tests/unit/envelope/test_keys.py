from __future__ import annotations

import pytest
from nacl import bindings

from tests.unit.envelope.samples import SEEDS, VERKEYS
from tntcore.dids.document import Curve, PublicKey
from tntcore.envelope import PrivateKey, normalise_verkey, to_x25519, verkey_to_did_key
from tntcore.envelope.keys import scalar_size
from tntcore.errors import DidError

CURVES: tuple[Curve, ...] = ("Ed25519", "X25519", "P-256", "P-384", "P-521", "secp256k1")


@pytest.mark.parametrize("curve", CURVES)
def test_new_keys(curve: Curve) -> None:
    one, other = PrivateKey.generate(curve), PrivateKey.generate(curve)
    assert one != other
    assert len(one.raw) == scalar_size(curve)
    assert one.public == PrivateKey(curve, one.raw).public
    assert one.public != other.public
    assert one.public.curve == curve


def test_a_private_key_never_shows() -> None:
    key = PrivateKey("Ed25519", b"s" * 32)
    assert repr(key) == str(key) == "PrivateKey(curve='Ed25519')"


def test_ed25519_to_x25519_agrees_on_both_sides() -> None:
    key = SEEDS["alice"]
    assert key.to_x25519().public == to_x25519(key.public)
    theirs = SEEDS["bob"].to_x25519()
    assert bindings.crypto_scalarmult(key.to_x25519().raw, theirs.public.raw) == bindings.crypto_scalarmult(
        theirs.raw, to_x25519(key.public).raw
    )


def test_only_ed25519_converts() -> None:
    with pytest.raises(DidError, match="bad-key"):
        PrivateKey.generate("P-256").to_x25519()
    with pytest.raises(DidError, match="bad-key"):
        to_x25519(PublicKey("X25519", bytes(32)))
    with pytest.raises(DidError, match="bad-key"):
        to_x25519(PublicKey("Ed25519", bytes(32)))


@pytest.mark.parametrize("curve", CURVES)
def test_what_is_no_private_key(curve: Curve) -> None:
    with pytest.raises(DidError, match="bad-key"):
        _ = PrivateKey(curve, bytes(scalar_size(curve) - 1)).public
    if curve not in ("Ed25519", "X25519"):
        with pytest.raises(DidError, match="bad-key"):
            _ = PrivateKey(curve, bytes(scalar_size(curve))).public


def test_spellings_of_a_verkey() -> None:
    verkey = VERKEYS["alice"]
    did = verkey_to_did_key(verkey)
    fragment = did.removeprefix("did:key:")
    assert normalise_verkey(verkey) == normalise_verkey(did) == normalise_verkey(f"{did}#{fragment}") == verkey


@pytest.mark.parametrize("text", ["", "abc", "did:key:", "did:key:z6Mk", "did:web:example.com", VERKEYS["bob"] + " "])
def test_what_is_no_verkey(text: str) -> None:
    with pytest.raises(DidError, match="bad-key"):
        normalise_verkey(text)


def test_a_did_key_url_must_name_its_own_key() -> None:
    with pytest.raises(DidError, match="bad-key"):
        normalise_verkey(verkey_to_did_key(VERKEYS["alice"]) + "#z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH")
