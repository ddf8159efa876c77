"""Signatures over parts of a v1 message: signed attachments (RFC 0017, "Signing attachments"; a detached JWS, RFC 7515
appendix F, in the form that RFC 0023 has in `did_doc~attach` and `did_rotate~attach`) and the retired signature
decorator (RFC 0234), which connections/1.0 still has in `connection~sig`. Ed25519 only. Pure.

A valid signature proves that the holder of the key wrote this, and nothing about whose key it is. Everything here
returns the signer, and the caller compares it with the one key that may have signed.

Other agents require, and this module therefore writes:

- `data.base64` in the standard alphabet and padded, which ACA-Py checks, though it and Credo sign over base64url (and
  ACA-Py then decodes the one as the other, so that it can read no payload whose base64 has `+` or `/`; a DID, and a
  document in ASCII without `>`, `?` and `~`, never has);
- `kid` in the unprotected header only: Credo refuses a protected header with both `jwk` and `kid`, and RFC 7515 (4) a
  parameter that is in both headers. ACA-Py wants `jwk` in the protected one, and Credo the `kid` to be a did:key.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from nacl import bindings
from nacl.exceptions import CryptoError

from tntcore.dids.document import PublicKey
from tntcore.dids.multiformats import decode_verkey, encode_verkey
from tntcore.envelope import base64url
from tntcore.envelope.keys import PrivateKey, normalise_verkey, verkey_to_did_key
from tntcore.envelope.limits import parse_json
from tntcore.errors import DidError, EnvelopeError
from tntcore.messaging.types import canonical
from tntcore.strict_json import write_json

FIELD_TYPE: Final = "https://didcomm.org/signature/1.0/ed25519Sha512_single"
MAX_SIGNATURES: Final = 16
"""The most signatures of one attachment. An honest one has one, or one for each key of an invitation."""

_SIGNATURE_BYTES: Final = 64
_TIMESTAMP_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class VerifiedAttachment:
    """The content of an attachment, and the base58 verkeys of everyone who signed it, at least one."""

    payload: bytes
    signers: tuple[str, ...]


class VerifiedField(NamedTuple):
    """A field's value (JSON), the signer's base58 verkey, and the claimed time of signing (seconds since 1970)."""

    value: Any
    signer: str
    timestamp: int


def sign_bytes(data: bytes, key: PrivateKey) -> bytes:
    """Returns the Ed25519 signature (RFC 8032) of some bytes: 64 bytes. Raises `EnvelopeError` `bad-key` for any other
    key.
    """
    _public(key)
    return _sign(data, key)


def check_bytes(data: bytes, signature: bytes, key: PublicKey) -> None:
    """Raises `EnvelopeError`: `malformed` (not 64 bytes), `bad-signature`, or `bad-key` if the key is not Ed25519."""
    if key.curve != "Ed25519":
        raise EnvelopeError("bad-key", "a signature is checked with an Ed25519 key")
    _check(data, signature, encode_verkey(key))


def sign_attachment(payload: bytes, key: PrivateKey, *, mime_type: str, id: str) -> dict[str, Any]:
    """A signed attachment: `{"@id", "mime-type", "data": {"base64", "jws": {header, protected, signature}}}`.

    Args:
        payload: a DID document, or a DID.
        key: an Ed25519 key.
        id: of the attachment.

    Raises:
        EnvelopeError: `bad-key` for any other key.
    """
    public = _public(key)
    kid = verkey_to_did_key(encode_verkey(public))
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": base64url.encode(public.raw).decode(), "kid": kid}
    protected = base64url.encode(write_json({"alg": "EdDSA", "jwk": jwk}))
    signature = _sign(_signing_input(protected, payload), key)
    return {
        "@id": id,
        "mime-type": mime_type,
        "data": {
            "base64": b2a_base64(payload, newline=False).decode(),
            "jws": {
                "header": {"kid": kid},
                "protected": protected.decode(),
                "signature": base64url.encode(signature).decode(),
            },
        },
    }


def verify_attachment(attachment: Mapping[str, Any]) -> VerifiedAttachment:
    """Returns the content of a signed attachment, if every signature on it is good.

    It reads one signature or a list of them (`jws.signatures`), `base64` in either alphabet, padded or not, and the key
    from the protected `jwk` or from a did:key `kid` in either header, with or without fragment. If a signature names
    its key several times, all must name the same one. A `kid` that is no did:key names nothing here.

    Raises:
        EnvelopeError: `malformed`, `bad-signature`.
    """
    data = _object(attachment.get("data"), "data")
    jws = _object(data.get("jws"), "data.jws")
    content = data.get("base64")
    # Standard base64 and base64url differ in two characters, and RFC 0017 does not say which of them it means.
    payload = base64url.decode(content.replace("+", "-").replace("/", "_") if type(content) is str else content)
    return VerifiedAttachment(payload, tuple(_verify(signature, payload) for signature in _signatures(jws)))


def sign_field(value: Any, key: PrivateKey, now_seconds: int) -> dict[str, Any]:
    """Returns the decorator that replaces a field's value: `{"@type", "signature", "sig_data", "signer"}` (RFC 0234).

    Args:
        value: JSON.
        key: an Ed25519 key. `signer` is its verkey in base58, as every agent writes it (the RFC has base64url).

    Raises:
        EnvelopeError: `bad-key` for any other key.
    """
    signer = encode_verkey(_public(key))
    data = now_seconds.to_bytes(_TIMESTAMP_BYTES, "big") + write_json(value)
    return {
        "@type": FIELD_TYPE,
        "signature": base64url.encode_padded(_sign(data, key)).decode(),
        "sig_data": base64url.encode_padded(data).decode(),
        "signer": signer,
    }


def verify_field(decorator: Mapping[str, Any]) -> VerifiedField:
    """Returns the value in a signature decorator, if its signature is by its `signer`. The timestamp is not checked.

    Raises:
        EnvelopeError: `malformed`, `bad-signature`.
    """
    type_ = decorator.get("@type")
    if type(type_) is not str or canonical(type_) != FIELD_TYPE:
        raise EnvelopeError("malformed", "not a signature of type ed25519Sha512_single")
    data, signature = (base64url.decode(decorator.get(name)) for name in ("sig_data", "signature"))
    signer = _verkey(decorator.get("signer"))
    _check(data, signature, signer)
    return VerifiedField(_json(data[_TIMESTAMP_BYTES:]), signer, int.from_bytes(data[:_TIMESTAMP_BYTES], "big"))


def _signatures(jws: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if "signatures" not in jws:
        return [jws]
    # RFC 7515, section 7.2.2: one form or the other.
    signatures = jws["signatures"]
    if jws.keys() & {"header", "protected", "signature"} or type(signatures) is not list:
        raise EnvelopeError("malformed", "a JWS of neither the general nor the flattened form")
    if not 0 < len(signatures) <= MAX_SIGNATURES:
        raise EnvelopeError("malformed", f"a JWS has 1 to {MAX_SIGNATURES} signatures, not {len(signatures)}")
    return [_object(signature, "a signature") for signature in signatures]


def _verify(signature: Mapping[str, Any], payload: bytes) -> str:
    """Returns the verkey that made `signature`."""
    encoded = signature.get("protected")
    protected = _object(_json(base64url.decode(encoded)), "a protected header")
    header = _object(signature.get("header", {}), "an unprotected header")
    if protected.get("alg") != "EdDSA" or "crit" in protected:
        raise EnvelopeError("malformed", "a signature's alg is EdDSA, and it has no crit")
    signers = set(_keys(protected, header))
    if len(signers) != 1:
        raise EnvelopeError("malformed", f"a signature names one key, not {len(signers)}")
    [signer] = signers
    _check(_signing_input(str(encoded).encode(), payload), base64url.decode(signature.get("signature")), signer)
    return signer


def _keys(protected: Mapping[str, Any], header: Mapping[str, Any]) -> Iterator[str]:
    """Yields the verkey of each member that contains or names a key."""
    kids = [header.get("kid"), protected.get("kid")]
    if "jwk" in protected:
        jwk = _object(protected["jwk"], "a jwk")
        if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
            raise EnvelopeError("malformed", "a signature's jwk is an Ed25519 key")
        raw = base64url.decode(jwk.get("x"))
        if len(raw) != 32:
            raise EnvelopeError("malformed", "an Ed25519 key has 32 bytes")
        yield encode_verkey(PublicKey("Ed25519", raw))
        kids.append(jwk.get("kid"))
    for kid in kids:
        if type(kid) is str and kid.startswith("did:key:"):
            yield _verkey(kid)


def _signing_input(protected: bytes, payload: bytes) -> bytes:
    return protected + b"." + base64url.encode(payload)


def _sign(data: bytes, key: PrivateKey) -> bytes:
    # libsodium's private key is the seed and the public key, which is remembered: to compute it costs a signature.
    return bindings.crypto_sign(data, key.raw + key.public.raw)[:_SIGNATURE_BYTES]


def _check(data: bytes, signature: bytes, signer: str) -> None:
    # libsodium takes both in one: of another length, the signature would begin or end elsewhere.
    if len(signature) != _SIGNATURE_BYTES:
        raise EnvelopeError("malformed", f"a signature has {_SIGNATURE_BYTES} bytes, not {len(signature)}")
    try:
        bindings.crypto_sign_open(signature + data, decode_verkey(signer).raw)
    except CryptoError:
        raise EnvelopeError("bad-signature", "the signature does not match") from None


def _public(key: PrivateKey) -> PublicKey:
    try:
        public = key.public
    except DidError as error:
        raise EnvelopeError("bad-key", error.detail) from None
    if public.curve != "Ed25519":
        raise EnvelopeError("bad-key", "a signature in a v1 message is by an Ed25519 key")
    return public


def _verkey(text: Any) -> str:
    if type(text) is not str:
        raise EnvelopeError("malformed", "a signature without signer")
    try:
        return normalise_verkey(text)
    except DidError as error:
        raise EnvelopeError("malformed", f"a signer's key: {error.detail}") from None


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise EnvelopeError("malformed", f"{name} is no object")
    return value


def _json(raw: bytes) -> Any:
    try:
        return parse_json(raw)
    except EnvelopeError as error:
        raise EnvelopeError("malformed", error.detail) from None
