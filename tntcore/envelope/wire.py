"""Parses packed messages before any key is used: version, kind, and the keys that they name.

DIDComm v1 is RFC 0019; DIDComm v2 is the specification 2.1, section "DIDComm Messages" (JWE and JWS in general JSON
serialization, RFC 7516 section 7.2.1 and RFC 7515 section 7.2.1). Shapes are checked here, once, so that later code can
rely on them.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

from tntcore.dids.document import Version
from tntcore.dids.multiformats import decode_verkey
from tntcore.envelope import base64url
from tntcore.envelope.keys import normalise_verkey
from tntcore.envelope.limits import (
    MAX_PLAINTEXT,
    MAX_RECIPIENTS,
    check_depth,
    check_plaintext_size,
    check_wire_size,
    load_json,
    load_object,
)
from tntcore.errors import DidError, EnvelopeError
from tntcore.strict_json import JsonError, read_leniently

EnvelopeKind = Literal["encrypted", "signed", "plaintext"]

V2_ENCRYPTIONS: Final = {
    ("ECDH-1PU+A256KW", "A256CBC-HS512"),
    ("ECDH-ES+A256KW", "A256CBC-HS512"),
    ("ECDH-ES+A256KW", "A256GCM"),
    ("ECDH-ES+A256KW", "XC20P"),
}


class Header(NamedTuple):
    """The unencrypted headers of a message. Nothing in them is proven.

    Attributes:
        recipient_kids: base58 verkeys (v1, whatever form they came in) or DID URLs as spelled (v2); none unless
            encrypted.
        sender_kid: v2: the `skid`, None for anoncrypt. v1: None when encrypted, as it is encrypted too. Signed: the
            signer's key id.
        typ: the message's media type as claimed; None for a plaintext without one.
        alg: `Authcrypt` or `Anoncrypt` (v1), the JWE or JWS algorithm (v2 and signed); None for a plaintext.
    """

    version: Version
    kind: EnvelopeKind
    recipient_kids: tuple[str, ...]
    sender_kid: str | None
    typ: str | None
    alg: str | None


class Wire(NamedTuple):
    """A message as parsed: its header, its members, and its protected header (empty for a plaintext)."""

    header: Header
    body: dict[str, Any]
    protected: dict[str, Any]


def read(raw: bytes) -> Wire:
    """Parses a packed message and checks its shape; no cryptography.

    Raises:
        EnvelopeError: `too-large`, `not-json`, `too-deep`, `too-many-values`, `not-an-envelope`, `malformed`,
            `too-many-recipients`, `unsupported`, `zip-refused`.
    """
    check_wire_size(raw)
    signed = read_v1_signed(raw)
    if signed is not None:
        return signed
    body = load_json(raw)
    if type(body) is not dict:
        raise EnvelopeError("not-an-envelope", "JSON, but no object")
    if "ciphertext" in body:
        protected = load_object(base64url.decode(body.get("protected")))
        if "recipients" in body:
            return Wire(_read_v2_encrypted(body, protected), body, protected)
        if "recipients" in protected:
            return Wire(_read_v1_encrypted(protected), body, protected)
        raise EnvelopeError("not-an-envelope", "ciphertext without recipients")
    if "payload" in body and ("signatures" in body or "signature" in body):
        return _read_v2_signed(body)
    check_plaintext_size(raw)
    check_depth(raw)
    if type(body.get("@type")) is str:
        return Wire(Header("v1", "plaintext", (), None, None, None), body, {})
    if is_v2_message(body):
        return Wire(Header("v2", "plaintext", (), None, _text_or_none(body, "typ"), None), body, {})
    raise EnvelopeError("not-an-envelope", "neither encrypted, nor signed, nor a message")


def read_message_leniently(raw: bytes) -> Wire | None:
    """Reads a v2 message that is no JSON by the letter (`strict_json.read_leniently`); None if it is none."""
    if len(raw) > MAX_PLAINTEXT:
        return None
    try:
        body = read_leniently(raw)
    except JsonError:
        return None
    if type(body) is not dict or not is_v2_message(body):
        return None
    return Wire(Header("v2", "plaintext", (), None, _text_or_none(body, "typ"), None), body, {})


def is_v2_message(body: dict[str, Any]) -> bool:
    """Whether an object has the members that every v2 message has (specification 2.1, "Message Headers")."""
    return type(body.get("type")) is str and type(body.get("id")) is str


def read_v1_signed(raw: bytes) -> Wire | None:
    """DIDComm-js's signed form, or None if this is something else, be it another compact JWS.

    It is a compact JWS with padded parts, a verkey as kid, and libsodium's signed message for a signature.
    """
    if not raw.startswith(b"eyJ") or raw.count(b".") != 2:
        return None
    try:
        protected_part, payload, signature = raw.decode("ascii").split(".")
        protected = load_object(base64url.decode(protected_part))
        kid, alg = protected.get("kid"), protected.get("alg")
        if alg != "EdDSA" or "crit" in protected or type(kid) is not str or len(signature) <= len(payload):
            return None
        decode_verkey(kid)
    except (UnicodeDecodeError, EnvelopeError, DidError):
        return None
    body = {"protected": protected_part, "payload": payload, "signature": signature}
    return Wire(Header("v1", "signed", (), kid, _text_or_none(protected, "typ"), alg), body, protected)


def _read_v1_encrypted(protected: dict[str, Any]) -> Header:
    alg = protected.get("alg")
    if alg not in ("Authcrypt", "Anoncrypt"):
        raise EnvelopeError("unsupported", "alg is neither Authcrypt nor Anoncrypt")
    kids = []
    for recipient in _recipients(protected):
        try:
            kids.append(normalise_verkey(recipient["header"]["kid"]))
        except DidError as error:
            raise EnvelopeError("malformed", f"a recipient's kid: {error.detail}") from None
    return Header("v1", "encrypted", tuple(kids), None, _text_or_none(protected, "typ"), alg)


def _read_v2_encrypted(body: dict[str, Any], protected: dict[str, Any]) -> Header:
    # Refused before anything is decrypted, let alone inflated, wherever it stands.
    unprotected = body.get("unprotected")
    if "zip" in protected or (type(unprotected) is dict and "zip" in unprotected):
        raise EnvelopeError("zip-refused", "compressed messages are not accepted")
    if unprotected or body.get("aad") is not None or "crit" in protected:
        raise EnvelopeError("unsupported", "unprotected, aad or crit in an encrypted message")
    alg, enc = protected.get("alg"), protected.get("enc")
    if type(alg) is not str or type(enc) is not str or (alg, enc) not in V2_ENCRYPTIONS:
        raise EnvelopeError("unsupported", "no algorithm of DIDComm v2")
    kids = tuple(recipient["header"]["kid"] for recipient in _recipients(body))
    if len(set(kids)) != len(kids):
        raise EnvelopeError("malformed", "a recipient is named twice")
    sender = _v2_sender(protected) if alg.startswith("ECDH-1PU") else None
    return Header("v2", "encrypted", kids, sender, _text_or_none(protected, "typ"), alg)


def _v2_sender(protected: dict[str, Any]) -> str:
    """Returns the `skid`, which `apu` must repeat, and may replace (specification 2.1, "ECDH-1PU key wrapping")."""
    try:
        apu = base64url.decode(protected.get("apu")).decode()
    except UnicodeDecodeError:
        raise EnvelopeError("malformed", "apu is not a key id") from None
    if protected.get("skid", apu) != apu or not is_did_url(apu):
        raise EnvelopeError("malformed", "apu and skid are not one DID URL")
    return apu


def _read_v2_signed(body: dict[str, Any]) -> Wire:
    # Flattened serialization is the general one with its only signature unfolded (RFC 7515, section 7.2.2).
    signatures = body.get("signatures", [body])
    if type(body["payload"]) is not str or type(signatures) is not list or not signatures:
        raise EnvelopeError("malformed", "a signed message needs payload and signatures")
    if len(signatures) != 1:
        raise EnvelopeError("unsupported", "more than one signature")
    signature = signatures[0]
    if type(signature) is not dict or type(signature.get("signature")) is not str:
        raise EnvelopeError("malformed", "a signature without its value")
    protected = load_object(base64url.decode(signature.get("protected")))
    unprotected = signature.get("header", {})
    if type(unprotected) is not dict:
        raise EnvelopeError("malformed", "a signature's header is no object")
    if "crit" in protected:
        raise EnvelopeError("unsupported", "crit in a signature")
    kid = unprotected.get("kid", protected.get("kid"))
    if not is_did_url(kid) or protected.get("kid", kid) != kid:
        raise EnvelopeError("malformed", "a signature's kid is not one DID URL")
    alg = protected.get("alg")
    if type(alg) is not str:
        raise EnvelopeError("malformed", "a signature without alg")
    header = Header("v2", "signed", (), kid, _text_or_none(protected, "typ"), alg)
    return Wire(header, {"payload": body["payload"], **signature}, protected)


def _recipients(container: dict[str, Any]) -> list[dict[str, Any]]:
    recipients = container["recipients"]
    if type(recipients) is not list or not recipients:
        raise EnvelopeError("malformed", "recipients is no list, or empty")
    if len(recipients) > MAX_RECIPIENTS:
        raise EnvelopeError("too-many-recipients", f"{len(recipients)} recipients; at most {MAX_RECIPIENTS}")
    for recipient in recipients:
        header = recipient.get("header") if type(recipient) is dict else None
        if type(header) is not dict or type(header.get("kid")) is not str:
            raise EnvelopeError("malformed", "a recipient without kid")
        if "zip" in header:
            raise EnvelopeError("zip-refused", "compressed messages are not accepted")
    return recipients


def is_did_url(value: Any) -> bool:
    """Whether this is a string that may be the DID URL of a key: `did:method:id#fragment`."""
    if type(value) is not str:
        return False
    did, _, fragment = value.partition("#")
    return bool(fragment) and did.startswith("did:") and did.count(":") >= 2


def _text_or_none(container: dict[str, Any], name: str) -> str | None:
    value = container.get(name)
    return value if type(value) is str else None
