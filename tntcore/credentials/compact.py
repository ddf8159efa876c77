"""JSON Web Tokens (RFC 7519) in compact form (RFC 7515, section 7.1), signed by keys that may be kept elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from openvc.keys import verify_signature

from tntcore.credentials.formats import FormatError, Signer
from tntcore.dids.document import DidDocument, PublicKey, VerificationMethod
from tntcore.envelope import base64url
from tntcore.envelope.v2 import same_did
from tntcore.errors import EnvelopeError
from tntcore.strict_json import JsonError, read_json, write_json

MAX_TOKEN: Final = 512 * 1024  # characters
ALGORITHMS: Final[Mapping[str, tuple[str, ...]]] = {
    "Ed25519": ("EdDSA", "Ed25519"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "secp256k1": ("ES256K",),
}
"""The values of `alg` for keys of each curve: a token's header does not choose."""


@dataclass(frozen=True, slots=True)
class Token:
    """A parsed token; nothing in it is verified.

    Attributes:
        signed: the bytes that `signature` covers.
    """

    text: str
    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes

    @property
    def kid(self) -> str:
        kid = self.header.get("kid")
        return kid if isinstance(kid, str) else ""


def read_token(value: Any, types: frozenset[str]) -> Token:
    """Parses a JWT. Its `typ` (RFC 7519, section 5.1), if present, must be `JWT` or one of `types`.

    Raises:
        FormatError: `jwt-invalid`.
    """
    if not isinstance(value, str) or len(value) > MAX_TOKEN or value.count(".") != 2:
        raise FormatError("jwt-invalid", f"Not a JWT in compact form, of at most {MAX_TOKEN} characters.")
    signed, _, signature = value.rpartition(".")
    try:
        header, claims = (read_json(base64url.decode_strict(part)) for part in signed.split("."))
        raw = base64url.decode_strict(signature)
    except (EnvelopeError, JsonError):
        raise FormatError("jwt-invalid", "A part of the JWT is not JSON in base64url, without padding.") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise FormatError("jwt-invalid", "A part of the JWT is not an object.")
    kind = str(header.get("typ", "JWT")).lower().removeprefix("application/")
    if kind != "jwt" and kind not in types:
        raise FormatError("jwt-invalid", "The JWT is of another type.")
    if "crit" in header:
        raise FormatError("jwt-invalid", "The JWT has unsupported extensions.")
    return Token(value, header, claims, signed.encode(), raw)


async def sign_token(claims: Mapping[str, Any], signer: Signer, kid: str) -> str:
    """Returns a JWT signed with EdDSA (RFC 8037, section 3.1). Raises `SigningError`."""
    parts = ({"alg": "EdDSA", "typ": "JWT", "kid": kid}, claims)
    signed = b".".join(base64url.encode(write_json(part)) for part in parts)
    return (signed + b"." + base64url.encode(await signer.sign(signed))).decode()


def choose_method(document: DidDocument, kid: str, allowed: tuple[str, ...]) -> VerificationMethod | None:
    """Returns the method that a token's `kid` names, if the document allows it for this purpose. Without a `kid`, or if
    that is the DID itself, returns the only method. A key with another controller does not count.

    Args:
        kid: a DID URL, or its fragment with or without `#`: libraries write all of these.
    """
    listed = [document.methods[name] for name in allowed]
    usable = [one for one in listed if one.key.curve in ALGORITHMS and same_did(one.controller, document.id)]
    if not kid or kid == document.id:
        return usable[0] if len(usable) == 1 else None
    method = document.method(kid if "#" in kid else f"#{kid}")
    return method if method in usable else None


def is_signed(token: Token, key: PublicKey) -> bool:
    """Whether this key made the token's signature, with an algorithm for that key. Claims and times are not checked."""
    algorithm = token.header.get("alg")
    if algorithm not in ALGORITHMS[key.curve]:
        return False
    if key.curve != "secp256k1":
        return verify_signature(
            alg=str(algorithm), public_jwk=jwk(key), signing_input=token.signed, signature=token.signature
        )
    if len(token.signature) != 64:
        return False
    half, rest = (int.from_bytes(part) for part in (token.signature[:32], token.signature[32:]))
    try:
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), key.raw)
        public.verify(encode_dss_signature(half, rest), token.signed, ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def jwk(key: PublicKey) -> dict[str, str]:
    """A public key as JWK (RFC 7518, section 6; RFC 8037, section 2)."""
    if key.curve in ("Ed25519", "X25519"):
        return {"kty": "OKP", "crv": key.curve, "x": base64url.encode(key.raw).decode()}
    half = len(key.raw) // 2
    x, y = (base64url.encode(part).decode() for part in (key.raw[1 : 1 + half], key.raw[1 + half :]))
    return {"kty": "EC", "crv": key.curve, "x": x, "y": y}
