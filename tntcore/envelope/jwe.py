"""JSON Web Encryption in the form of DIDComm v2: the general JSON serialization (RFC 7516, section 7.2.1) with key
agreement by ECDH-ES (RFC 7518, section 4.6) or ECDH-1PU (draft 4), each with A256KW.

The algorithms are the `didcomm` library's, their composition is ours: docs/decisions/0019.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, cast

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tntcore.dids.document import AGREEMENT_CURVES, Curve, PublicKey
from tntcore.dids.multiformats import EC_CURVES
from tntcore.envelope import base64url
from tntcore.envelope.jose import AnonCryptAlg, AuthCryptAlg, JsonWebEncryption
from tntcore.envelope.keys import PrivateKey, jwk, scalar_size
from tntcore.envelope.wire import Wire
from tntcore.errors import DidError, EnvelopeError
from tntcore.strict_json import write_json

_Private = X25519PrivateKey | ec.EllipticCurvePrivateKey
_Public = X25519PublicKey | ec.EllipticCurvePublicKey

_AUTHCRYPT: Final = AuthCryptAlg.A256CBC_HS512_ECDH_1PU_A256KW.value
_ANONCRYPT: Final = AnonCryptAlg.XC20P_ECDH_ES_A256KW.value
_WRAPPING_BITS: Final = 256

# Every u-coordinate that gives the all-zero shared secret, whatever our key (RFC 7748, section 6.1): 0, 1, -1 and the
# two points of order 8, with those that are not reduced. The highest bit is ignored.
_P: Final = 2**255 - 19
_LOW_ORDER: Final = frozenset(
    u.to_bytes(32, "little")
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
    enc = JsonWebEncryption.ENC_REGISTRY[enc_name]
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
        static_secret = None if static is None else _exchange(static, key)
        wrapping_key = _wrapping_key(header, _exchange(ephemeral, key), static_secret, tag)
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
    iv, tag, ciphertext = (base64url.decode(body.get(name)) for name in ("iv", "tag", "ciphertext"))
    epk = _ephemeral_key(protected.get("epk"), secret.curve)
    if sender is not None and sender.curve != secret.curve:
        raise EnvelopeError("cannot-decrypt", f"the sender's key is of {sender.curve}, and ours of {secret.curve}")
    ours, theirs = _import_private(secret), None if sender is None else _import_public(sender)
    enc = JsonWebEncryption.ENC_REGISTRY[protected["enc"]]
    try:
        static_secret = None if theirs is None else _exchange(ours, theirs)
        wrapping_key = _wrapping_key(protected, _exchange(ours, _load_public(epk)), static_secret, tag)
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
    """Derives the key that wraps the content key from the shared secrets of the ephemeral key and, in an authcrypt, of
    the sender's key.
    """
    alg = JsonWebEncryption.ALG_REGISTRY[header["alg"]]
    if static is None:
        shared, info = ephemeral, alg.compute_fixed_info(header, _WRAPPING_BITS)
    else:
        shared = alg.compute_shared_key(ephemeral, static)
        info = alg.compute_fixed_info(header, _WRAPPING_BITS, tag)
    key: bytes = alg.compute_derived_key(shared, info, _WRAPPING_BITS)
    return key


def _exchange(private: _Private, public: _Public) -> bytes:
    """Returns the shared secret. Raises `TypeError` or `ValueError` for keys of two curves."""
    if isinstance(private, X25519PrivateKey):
        return private.exchange(cast("X25519PublicKey", public))
    return private.exchange(ec.ECDH(), cast("ec.EllipticCurvePublicKey", public))


def _ephemeral_key(epk: Any, curve: Curve) -> PublicKey:
    if type(epk) is not dict or epk.get("crv") != curve:
        raise EnvelopeError("malformed", "epk is no key of the recipient's curve")
    x = base64url.decode(epk.get("x"))
    size = scalar_size(curve)
    if curve == "X25519":
        if len(x) != size:
            raise EnvelopeError("malformed", "epk has the wrong size")
        if _is_low_order(x):
            raise EnvelopeError("low-order-epk", "epk is a point of small order")
        return PublicKey(curve, x)
    y = base64url.decode(epk.get("y"))
    # didcomm-python leaves leading zeros out, so shorter coordinates must be read.
    if max(len(x), len(y)) > size:
        raise EnvelopeError("malformed", "epk has the wrong size")
    return PublicKey(curve, b"\x04" + x.rjust(size, b"\0") + y.rjust(size, b"\0"))


def _generate(curve: Curve) -> _Private:
    return X25519PrivateKey.generate() if curve == "X25519" else ec.generate_private_key(EC_CURVES[curve])


def _public_of(private: _Private, curve: Curve) -> PublicKey:
    if isinstance(private, X25519PrivateKey):
        return PublicKey(curve, private.public_key().public_bytes_raw())
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return PublicKey(curve, point)


def _recipient_key(key: PublicKey) -> _Public:
    if key.curve == "X25519" and _is_low_order(key.raw):
        raise EnvelopeError("bad-key", "the key is a point of small order: everybody knows its shared secret")
    return _import_public(key)


def _is_low_order(x: bytes) -> bool:
    return x[:31] + bytes([x[31] & 0x7F]) in _LOW_ORDER


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
        raise EnvelopeError("bad-key", f"keys of {key.curve} do not agree on secrets")
    try:
        return _load_public(key)
    except ValueError:
        raise EnvelopeError("bad-key", f"not a key of {key.curve}") from None


def _load_public(key: PublicKey) -> _Public:
    """Raises `ValueError` for a point that is not on its curve."""
    if key.curve == "X25519":
        return X25519PublicKey.from_public_bytes(key.raw)
    return ec.EllipticCurvePublicKey.from_encoded_point(EC_CURVES[key.curve], key.raw)


def _text(data: bytes) -> str:
    return base64url.encode(data).decode()
