"""Keys as text: base58 verkeys (RFC 0019), and Multikey values (Controlled Identifiers 1.0, section 2.2.2; multicodec
table for the codes). Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import base58
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tntcore.dids.document import Curve, PublicKey
from tntcore.errors import DidError

CODES: Final[dict[Curve, int]] = {
    "Ed25519": 0xED,
    "X25519": 0xEC,
    "secp256k1": 0xE7,
    "P-256": 0x1200,
    "P-384": 0x1201,
    "P-521": 0x1202,
}
EC_CURVES: Final[dict[Curve, ec.EllipticCurve]] = {
    "secp256k1": ec.SECP256K1(),
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
_CURVES: Final = {code: curve for curve, code in CODES.items()}

# base58 is quadratic; a key never needs more, and what a stranger sends must not cost more.
_MAX_KEY_CHARACTERS: Final = 128


def encode_base58(raw: bytes) -> str:
    """Bytes as base58 (Bitcoin alphabet)."""
    return base58.b58encode(raw).decode("ascii")


def decode_base58(text: str) -> bytes:
    """The bytes of a base58 text (Bitcoin alphabet), of at most 128 characters.

    Raises:
        DidError: `bad-key` if it is none, or is longer.
    """
    if len(text) > _MAX_KEY_CHARACTERS:
        raise DidError("bad-key", f"a base58 key has at most {_MAX_KEY_CHARACTERS} characters, not {len(text)}")
    # base58 would silently drop trailing whitespace: two spellings of one key.
    if text[-1:].isspace():
        raise DidError("bad-key", "a key is not base58")
    try:
        return base58.b58decode(text)
    except ValueError as error:
        raise DidError("bad-key", "a key is not base58") from error


def encode_verkey(key: PublicKey) -> str:
    """An Ed25519 key as a verkey: base58 of its 32 bytes, with no prefix (RFC 0019).

    Raises:
        DidError: `bad-key` for any other curve.
    """
    if key.curve != "Ed25519":
        raise DidError("bad-key", f"a verkey is an Ed25519 key, not {key.curve}")
    return encode_base58(key.raw)


@lru_cache(maxsize=4096)
def decode_verkey(verkey: str) -> PublicKey:
    """The Ed25519 key of a base58 verkey (RFC 0019).

    Raises:
        DidError: `bad-key` if it is not base58 of exactly 32 bytes.
    """
    raw = decode_base58(verkey)
    if len(raw) != 32:
        raise DidError("bad-key", f"a verkey has 32 bytes, not {len(raw)}")
    return PublicKey("Ed25519", raw)


def encode_multikey(key: PublicKey) -> str:
    """A key as a Multikey value: `z`, then base58 of multicodec and key (EC points compressed), e.g. `z6Mk...`.

    Raises:
        DidError: `bad-key` if an EC key is not a point of its curve.
    """
    raw = key.raw
    if key.curve in EC_CURVES:
        raw = _point(key.curve, raw).public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return "z" + encode_base58(_varint(CODES[key.curve]) + raw)


@lru_cache(maxsize=4096)
def decode_multikey(multikey: str) -> PublicKey:
    """The key of a Multikey value `z...` (base58btc only).

    Raises:
        DidError: `bad-key` if it is malformed, not a point of its curve, or of a curve we do not know.
    """
    if not multikey.startswith("z"):
        raise DidError("bad-key", "a Multikey value begins with z (base58btc)")
    data = decode_base58(multikey[1:])
    code, raw = _read_varint(data)
    curve = _CURVES.get(code)
    if curve is None:
        raise DidError("bad-key", f"no known key type has multicodec 0x{code:x}")
    if curve in EC_CURVES:
        raw = _point(curve, raw).public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    elif len(raw) != 32:
        raise DidError("bad-key", f"an {curve} key has 32 bytes, not {len(raw)}")
    return PublicKey(curve, raw)


def _point(curve: Curve, raw: bytes) -> ec.EllipticCurvePublicKey:
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(EC_CURVES[curve], raw)
    except ValueError as error:
        raise DidError("bad-key", f"not a point of {curve}") from error


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(data: bytes) -> tuple[int, bytes]:
    """The multicodec at the start and what follows it; all codes we know take two bytes."""
    if len(data) > 2 and data[0] > 0x7F and 0 < data[1] < 0x80:
        return data[0] & 0x7F | data[1] << 7, data[2:]
    raise DidError("bad-key", "no multicodec that is a key type")
