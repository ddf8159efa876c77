"""Private keys, and the conversions of keys that messaging needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nacl import bindings
from nacl.exceptions import CryptoError

from tntcore.dids.document import Curve, PublicKey
from tntcore.dids.multiformats import EC_CURVES, decode_multikey, decode_verkey, encode_multikey, encode_verkey
from tntcore.envelope import base64url
from tntcore.errors import DidError

_CACHE: Final = 4096


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A private key. `raw` is the seed (Ed25519), the scalar (X25519), or the big-endian scalar padded to the size of
    the field (32, 48 or 66 bytes for the EC curves). It never shows in a `repr`."""

    curve: Curve
    raw: bytes = field(repr=False)

    @classmethod
    def generate(cls, curve: Curve) -> PrivateKey:
        """A new key from the operating system's randomness."""
        if curve in ("Ed25519", "X25519"):
            return cls(curve, os.urandom(32))
        scalar = ec.generate_private_key(EC_CURVES[curve]).private_numbers().private_value
        return cls(curve, scalar.to_bytes(scalar_size(curve), "big"))

    @property
    def public(self) -> PublicKey:
        """Its public key.

        Raises:
            DidError: `bad-key` if `raw` is not a key of the curve.
        """
        return _public(self.curve, self.raw)

    def to_x25519(self) -> PrivateKey:
        """The X25519 key of an Ed25519 key (the birational map of RFC 7748, as libsodium applies it).

        Raises:
            DidError: `bad-key` for any other curve.
        """
        if self.curve != "Ed25519":
            raise DidError("bad-key", f"only an Ed25519 key converts to X25519, not {self.curve}")
        return PrivateKey("X25519", box_keys(self.raw)[1])


Secrets = Mapping[str, PrivateKey]
"""Our private keys by kid: an Ed25519 key by base58 verkey (v1), a key-agreement key by DID URL (v2)."""


def scalar_size(curve: Curve) -> int:
    """Bytes of a private key, and of each coordinate of an EC point."""
    return (EC_CURVES[curve].key_size + 7) // 8 if curve in EC_CURVES else 32


def jwk(key: PublicKey) -> dict[str, str]:
    """A public key as a JWK (RFC 7518, section 6.2; RFC 8037)."""
    size = scalar_size(key.curve)
    if key.curve in EC_CURVES:
        x, y = (base64url.encode(raw).decode() for raw in (key.raw[1 : 1 + size], key.raw[1 + size :]))
        return {"kty": "EC", "crv": key.curve, "x": x, "y": y}
    return {"kty": "OKP", "crv": key.curve, "x": base64url.encode(key.raw).decode()}


def to_x25519(key: PublicKey) -> PublicKey:
    """The X25519 key of an Ed25519 key.

    Raises:
        DidError: `bad-key` for any other curve, or a point of small order or off the curve.
    """
    if key.curve != "Ed25519":
        raise DidError("bad-key", f"only an Ed25519 key converts to X25519, not {key.curve}")
    return PublicKey("X25519", x25519_of(key.raw))


@lru_cache(_CACHE)
def normalise_verkey(text: str) -> str:
    """A verkey, a did:key of an Ed25519 key, or a did:key DID URL, as a base58 verkey (RFC 0019, RFC 0360).

    Raises:
        DidError: `bad-key` if it is none of these.
    """
    if not text.startswith("did:key:"):
        decode_verkey(text)
        return text
    did, _, fragment = text.partition("#")
    multikey = did[len("did:key:") :]
    if fragment and fragment != multikey:
        raise DidError("bad-key", "the fragment of a did:key kid is not its key")
    return encode_verkey(decode_multikey(multikey))


def verkey_to_did_key(verkey: str) -> str:
    """A base58 verkey as did:key (RFC 0360). Raises as `decode_verkey`."""
    return "did:key:" + encode_multikey(decode_verkey(verkey))


@lru_cache(_CACHE)
def x25519_of(ed25519: bytes) -> bytes:
    """The X25519 public key of an Ed25519 public key, raw. Raises `DidError` `bad-key` as `to_x25519`."""
    try:
        return bindings.crypto_sign_ed25519_pk_to_curve25519(ed25519)
    except CryptoError as error:
        raise DidError("bad-key", "not an Ed25519 key that can encrypt") from error


@lru_cache(_CACHE)
def box_keys(seed: bytes) -> tuple[bytes, bytes]:
    """The X25519 key pair (public, private) of an Ed25519 seed, raw."""
    public, secret = bindings.crypto_sign_seed_keypair(seed)
    return x25519_of(public), bindings.crypto_sign_ed25519_sk_to_curve25519(secret)


@lru_cache(_CACHE)
def shared_box_key(their_x25519: bytes, seed: bytes) -> bytes:
    """The key of a NaCl box between an X25519 public key and an Ed25519 seed.

    Raises:
        nacl.exceptions.CryptoError: for a public key of small order.
    """
    return bindings.crypto_box_beforenm(their_x25519, box_keys(seed)[1])


@lru_cache(_CACHE)
def _public(curve: Curve, raw: bytes) -> PublicKey:
    # Checked here because PyNaCl would read past the end of a shorter scalar.
    if len(raw) != scalar_size(curve):
        raise DidError("bad-key", f"a private key of {curve} has {scalar_size(curve)} bytes, not {len(raw)}")
    try:
        if curve == "Ed25519":
            return PublicKey(curve, bindings.crypto_sign_seed_keypair(raw)[0])
        if curve == "X25519":
            return PublicKey(curve, bindings.crypto_scalarmult_base(raw))
        point = ec.derive_private_key(int.from_bytes(raw, "big"), EC_CURVES[curve]).public_key()
        return PublicKey(curve, point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
    except (CryptoError, ValueError) as error:
        raise DidError("bad-key", f"not a private key of {curve}") from error
