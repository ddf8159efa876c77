"""JSON Web Encryption in the form of DIDComm v2: the general JSON serialization (RFC 7516, section 7.2.1) with key
agreement by ECDH-ES (RFC 7518, section 4.6) or ECDH-1PU (draft 4), each with A256KW.

The ciphers are those that the `didcomm` library registers, their composition is ours: docs/decisions/0019.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tntcore.dids.document import AGREEMENT_CURVES, Curve, PublicKey
from tntcore.dids.multiformats import EC_CURVES
from tntcore.envelope import base64url
from tntcore.envelope.keys import PrivateKey, jwk, scalar_size
from tntcore.envelope.wire import Wire
from tntcore.errors import DidError, EnvelopeError
from tntcore.strict_json import write_json

_Private = X25519PrivateKey | ec.EllipticCurvePrivateKey
_Public = X25519PublicKey | ec.EllipticCurvePublicKey

_AUTHCRYPT: Final = ("ECDH-1PU+A256KW", "A256CBC-HS512")
_ANONCRYPT: Final = ("ECDH-ES+A256KW", "XC20P")
_WRAPPING_BITS: Final = (256).to_bytes(4, "big")

# Every u-coordinate that gives the all-zero shared secret, whatever our key (RFC 7748, section 6.1): 0, 1, -1 and the
# two points of order 8, with those that are not reduced. The highest bit is ignored: with it, and without.
_P: Final = 2**255 - 19
_LOW_ORDER: Final = frozenset(
    (u | highest).to_bytes(32, "little")
    for highest in (0, 2**255)
    for u in (
        0,
        1,
        0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
        0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
        _P - 1,
        _P,
        _P + 1,
    )
)


def encrypt(
    content: bytes, recipients: Sequence[tuple[str, PublicKey]], sender: tuple[str, PrivateKey] | None
) -> bytes:
    """Encrypts for `recipients`, which are key ids and keys of one curve.

    Args:
        sender: key id and key, of the same curve, for an authcrypt. None for an anoncrypt.

    Raises:
        EnvelopeError: `bad-key`.
    """
    alg, enc_name = _ANONCRYPT if sender is None else _AUTHCRYPT
    enc = _ciphers()[enc_name]
    keys = [_recipient_key(key) for _, key in recipients]
    static = None if sender is None else _import_private(sender[1])
    curve = recipients[0][1].curve
    ephemeral = _generate(curve)
    header = {
        "typ": "application/didcomm-encrypted+json",
        "alg": alg,
        "enc": enc_name,
        "apv": apv([kid for kid, _ in recipients]),
        "epk": jwk(_public_of(ephemeral, curve)),
    }
    if sender is not None:
        header |= {"skid": sender[0], "apu": _text(sender[0].encode())}
    protected = base64url.encode(write_json(header))
    content_key, iv = enc.generate_cek(), enc.generate_iv()
    ciphertext, tag = enc.encrypt(content, protected, iv, content_key)
    entries = []
    for (kid, _), key in zip(recipients, keys, strict=True):
        static_secret = None if static is None else _exchange(curve, static, key)
        wrapping_key = _wrapping_key(header, _exchange(curve, ephemeral, key), static_secret, tag)
        entries.append({"header": {"kid": kid}, "encrypted_key": _text(aes_key_wrap(wrapping_key, content_key))})
    return write_json(
        {
            "protected": protected.decode(),
            "recipients": entries,
            "iv": _text(iv),
            "ciphertext": _text(ciphertext),
            "tag": _text(tag),
        }
    )


def decrypt(wire: Wire, index: int, secret: PrivateKey, sender: PublicKey | None) -> tuple[bytes, bytes]:
    """Opens a JWE that `wire.read` has parsed, for the recipient `index` (RFC 7516, section 5.2).

    Args:
        sender: the key of an authcrypt's sender.

    Returns:
        The content, and the envelope's id (`results.Authcrypt`).

    Raises:
        EnvelopeError: `malformed`, `bad-key`, `low-order-epk`, `cannot-decrypt`.
    """
    protected, body = wire.protected, wire.body
    encrypted_key = base64url.decode(body["recipients"][index].get("encrypted_key"))
    iv, tag = base64url.decode(body.get("iv")), base64url.decode(body.get("tag"))
    ciphertext = base64url.decode(body["ciphertext"])
    curve = secret.curve
    if curve not in AGREEMENT_CURVES:
        raise EnvelopeError("cannot-decrypt", f"our key is of {curve}, which is not for key agreement")
    epk = _ephemeral_key(protected.get("epk"), curve)
    if sender is not None and sender.curve != curve:
        raise EnvelopeError("cannot-decrypt", f"the sender's key is of {sender.curve}, and ours of {curve}")
    ours, theirs = _import_private(secret), None if sender is None else _import_public(sender)
    enc = _ciphers()[protected["enc"]]
    try:
        static_secret = None if theirs is None else _exchange(curve, ours, theirs)
        wrapping_key = _wrapping_key(protected, _exchange(curve, ours, epk), static_secret, tag)
        content_key = aes_key_unwrap(wrapping_key, encrypted_key)
        # The cipher would take some shorter keys.
        if len(content_key) * 8 == enc.CEK_SIZE:
            return enc.decrypt(ciphertext, body["protected"].encode(), iv, tag, content_key), iv + tag
    except Exception:  # noqa: BLE001, S110  hostile input surfaces as nearly anything in the libraries
        pass
    raise EnvelopeError("cannot-decrypt", "our key does not open the message")


def apv(kids: Sequence[str]) -> str:
    """Returns the hash of the key ids that binds an envelope to its recipients (2.1, "ECDH-1PU key wrapping and common
    protected headers").
    """
    return _text(hashlib.sha256(".".join(sorted(kids)).encode()).digest())


def _wrapping_key(header: Mapping[str, Any], ephemeral: bytes, static: bytes | None, tag: bytes) -> bytes:
    """Derives the key that wraps the content key (RFC 7518, section 4.6.2; ECDH-1PU draft 4, section 2.3).

    Args:
        ephemeral, static: the secrets shared by the ephemeral key and, in an authcrypt, by the sender's key.
    """
    parties = (base64url.decode(header.get("apu") or ""), base64url.decode(header["apv"]))
    info = _sized(header["alg"].encode()) + _sized(parties[0]) + _sized(parties[1]) + _WRAPPING_BITS
    if static is None:
        return ConcatKDFHash(SHA256(), 32, info).derive(ephemeral)
    return ConcatKDFHash(SHA256(), 32, info + _sized(tag)).derive(ephemeral + static)


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _exchange(curve: Curve, private: Any, public: Any) -> bytes:
    """Returns the secret that two keys of the curve share."""
    shared: bytes = private.exchange(public) if curve == "X25519" else private.exchange(ec.ECDH(), public)
    return shared


@cache
def _ciphers() -> Mapping[str, Any]:
    """Returns the library's content encryption algorithms by name. It is slow to load, so it is loaded here."""
    from tntcore.envelope.jose import JsonWebEncryption

    ciphers: Mapping[str, Any] = JsonWebEncryption.ENC_REGISTRY
    return ciphers


def _ephemeral_key(epk: Any, curve: Curve) -> _Public:
    if type(epk) is not dict or epk.get("crv") != curve:
        raise EnvelopeError("malformed", "epk is no key of the recipient's curve")
    x = base64url.decode(epk.get("x"))
    size = scalar_size(curve)
    if curve == "X25519":
        if len(x) != size:
            raise EnvelopeError("malformed", "epk has the wrong size")
        if x in _LOW_ORDER:
            raise EnvelopeError("low-order-epk", "epk is a point of small order")
        return X25519PublicKey.from_public_bytes(x)
    y = base64url.decode(epk.get("y"))
    # didcomm-python leaves leading zeros out, so shorter coordinates must be read.
    if max(len(x), len(y)) > size:
        raise EnvelopeError("malformed", "epk has the wrong size")
    try:
        return _point(curve, b"\x04" + x.rjust(size, b"\0") + y.rjust(size, b"\0"))
    except ValueError:
        raise EnvelopeError("cannot-decrypt", "epk is not on its curve") from None


def _generate(curve: Curve) -> _Private:
    return X25519PrivateKey.generate() if curve == "X25519" else ec.generate_private_key(EC_CURVES[curve])


def _public_of(private: _Private, curve: Curve) -> PublicKey:
    if isinstance(private, X25519PrivateKey):
        return PublicKey(curve, private.public_key().public_bytes_raw())
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return PublicKey(curve, point)


def _recipient_key(key: PublicKey) -> _Public:
    if key.curve == "X25519" and key.raw in _LOW_ORDER:
        raise EnvelopeError("bad-key", "the key is a point of small order: everybody knows its shared secret")
    return _import_public(key)


@lru_cache(4096)
def _import_private(secret: PrivateKey) -> _Private:
    try:
        _ = secret.public  # raises if it is no key of its curve
    except DidError as error:
        raise EnvelopeError("bad-key", error.detail) from None
    if secret.curve == "X25519":
        return X25519PrivateKey.from_private_bytes(secret.raw)
    return ec.derive_private_key(int.from_bytes(secret.raw, "big"), EC_CURVES[secret.curve])


@lru_cache(4096)
def _import_public(key: PublicKey) -> _Public:
    if key.curve not in AGREEMENT_CURVES:
        raise EnvelopeError("bad-key", f"{key.curve} is not for key agreement")
    try:
        if key.curve == "X25519":
            return X25519PublicKey.from_public_bytes(key.raw)
        return _point(key.curve, key.raw)
    except ValueError:
        raise EnvelopeError("bad-key", f"not a key of {key.curve}") from None


def _point(curve: Curve, raw: bytes) -> ec.EllipticCurvePublicKey:
    """Raises `ValueError` for a point that is not on the curve."""
    return ec.EllipticCurvePublicKey.from_encoded_point(EC_CURVES[curve], raw)


def _text(data: bytes) -> str:
    return base64url.encode(data).decode()
