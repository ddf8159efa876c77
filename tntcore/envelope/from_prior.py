"""`from_prior`: a proof in a DIDComm v2 message that its sender used another DID before (DIDComm Messaging 2.1, "DID
Rotation"). A JWT (RFC 7519) whose issuer is the old DID, and whose subject the new one. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tntcore.dids.document import DidDocument
from tntcore.envelope import base64url
from tntcore.envelope.keys import PrivateKey
from tntcore.envelope.limits import load_object
from tntcore.envelope.v2 import algorithm, check_signature, did_of, same_did, sign_bytes
from tntcore.envelope.wire import is_did_url
from tntcore.errors import EnvelopeError
from tntcore.strict_json import write_json

MAX_CHARACTERS: Final = 64 * 1024
"""Length of the JWT, which contains three DIDs, one of them encoded twice."""
_LEEWAY: Final = 60  # seconds that the other side's clock may be ahead


@dataclass(frozen=True, slots=True)
class FromPrior:
    """The claims of a `from_prior`, not yet verified: see `verify`.

    Attributes:
        iss, sub: the old DID, and the new one, as spelled; without a new one it ends the relationship ("Ending a
            Relationship").
        kid: DID URL of the key of `iss` that signed.
        alg: of the signature over `signed`.
        begins_at, expires_at: seconds since 1970, or None.
    """

    iss: str
    sub: str
    kid: str
    alg: str
    signed: bytes
    signature: bytes
    expires_at: float | None = None
    begins_at: float | None = None


def sign(*, iss: str, sub: str, kid: str, key: PrivateKey, issued_at: int) -> str:
    """Makes the `from_prior` for messages from `sub`.

    Args:
        sub: "" to end the relationship, in a message without `from`.
        kid, key: an authentication key of the document of `iss`: its DID URL there, and the private key (Ed25519,
            P-256, or secp256k1).
        issued_at: seconds since 1970.

    Raises:
        EnvelopeError: `bad-key`.
    """
    alg = algorithm(key.curve)
    if alg is None or not is_did_url(kid):
        raise EnvelopeError("bad-key", f"no signatures with {key.curve}, or no DID URL as its kid")
    header = base64url.encode(write_json({"typ": "JWT", "alg": alg, "kid": kid}))
    claims = {"iss": iss, **({"sub": sub} if sub else {}), "iat": issued_at}
    signed = header + b"." + base64url.encode(write_json(claims))
    return (signed + b"." + base64url.encode(sign_bytes(signed, key))).decode()


def read(value: Any) -> FromPrior:
    """Parses the header `from_prior` of a message.

    Raises:
        EnvelopeError: `from-prior-malformed`.
    """
    try:
        return _read(value)
    except EnvelopeError as error:
        raise EnvelopeError("from-prior-malformed", error.detail) from None


def _read(value: Any) -> FromPrior:
    if type(value) is not str or len(value) > MAX_CHARACTERS or value.count(".") != 2:
        raise EnvelopeError("malformed", "from_prior is no compact JWT")
    protected, payload, signature = value.split(".")
    header, claims = load_object(base64url.decode_strict(protected)), load_object(base64url.decode_strict(payload))
    # Extensions that must be understood (RFC 7515, section 4.1.11) are not supported.
    if "crit" in header:
        raise EnvelopeError("malformed", "from_prior has a header crit")
    expires_at, begins_at = claims.get("exp"), claims.get("nbf")
    if not all(time is None or type(time) in (int, float) for time in (expires_at, begins_at)):
        raise EnvelopeError("malformed", "exp or nbf is no time")
    prior = FromPrior(
        _text(claims, "iss"),
        _text(claims, "sub") if claims.get("sub") not in (None, "") else "",
        _text(header, "kid"),
        _text(header, "alg"),
        f"{protected}.{payload}".encode(),
        base64url.decode_strict(signature),
        expires_at,
        begins_at,
    )
    if not is_did_url(prior.kid) or not same_did(prior.iss, did_of(prior.kid)):
        raise EnvelopeError("malformed", "kid is no key of iss")
    return prior


def verify(prior: FromPrior, document: DidDocument, now: float) -> None:
    """Checks that the owner of the keys of `prior.iss` signed it.

    Args:
        document: of `prior.iss`; of a did:peer:4 in either form.
        now: seconds since 1970.

    Raises:
        EnvelopeError: `from-prior-signature`; `from-prior-expired`, also if it is not valid yet.
    """
    try:
        check_signature(prior.signed, prior.signature, alg=prior.alg, kid=prior.kid, document=document)
    except EnvelopeError as error:
        raise EnvelopeError("from-prior-signature", error.detail) from None
    if prior.expires_at is not None and prior.expires_at < now:
        raise EnvelopeError("from-prior-expired", "from_prior has expired")
    if prior.begins_at is not None and prior.begins_at > now + _LEEWAY:
        raise EnvelopeError("from-prior-expired", "from_prior is not valid yet")


def _text(container: Mapping[str, Any], name: str) -> str:
    value = container.get(name)
    if type(value) is not str or not value:
        raise EnvelopeError("malformed", f"{name} is missing")
    return value
