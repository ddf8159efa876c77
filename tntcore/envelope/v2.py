"""DIDComm v2 envelopes: DIDComm Messaging 2.1, "DIDComm Messages" and "Routing Protocol 2.0".

Encryption is composed in `jwe`, and signatures are authlib's. Neither its envelopes nor those of the `didcomm` library
are used: docs/decisions/0019. No library makes the addressing checks of the specification: see `_check_addressing`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, cast

from tntcore.dids.document import AGREEMENT_CURVES, Curve, DidDocument, PublicKey
from tntcore.envelope import base64url, jwe
from tntcore.envelope.errors import NeedsDocument
from tntcore.envelope.keys import PrivateKey, Secrets, jwk
from tntcore.envelope.limits import MAX_RECIPIENTS, check_depth, check_plaintext_size, check_wire_size, load_object
from tntcore.envelope.results import Anoncrypt, Authcrypt, Plaintext, Signed, Unpacked
from tntcore.envelope.wire import Wire, is_did_url, is_v2_message, read, read_message_leniently
from tntcore.errors import DidError, EnvelopeError
from tntcore.strict_json import write_json

FORWARD: Final = "https://didcomm.org/routing/2.0/forward"

Documents = Mapping[str, DidDocument]
"""Resolved documents by DID, as the key ids in the message spell it."""

_Recipients = tuple[tuple[str, PublicKey], ...]

_SIGN_ALGS: Final[dict[Curve, str]] = {"Ed25519": "EdDSA", "P-256": "ES256", "secp256k1": "ES256K"}
_SECP256K1_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

# The only nestings the specification has (2.1, "IANA Media Types"): each layer at most once, in this order.
_LAYERS: Final = ("anoncrypt", "authcrypt", "signed", "plaintext")


def unpack(wire: Wire, raw: bytes, secrets: Secrets, documents: Documents) -> Unpacked:
    """Opens a v2 message already parsed by `wire.read`; see `tntcore.envelope.unpack` for the errors."""
    plaintext = raw
    outer = -1
    recipient = sender = signer = None
    envelope_id = b""
    while (layer := _layer(wire)) != "plaintext":
        if _LAYERS.index(layer) <= outer:
            raise EnvelopeError("nesting", f"{layer} inside {_LAYERS[outer]}")
        outer = _LAYERS.index(layer)
        if layer == "signed":
            signer = wire.header.sender_kid
            plaintext = _verify(wire, documents)
        else:
            sender = wire.header.sender_kid
            recipient, plaintext, envelope_id = _decrypt(wire, secrets, documents)
        wire = _read_inner(plaintext)
        # A v2 message may well have a member called @type.
        if wire.header.version != "v2" and not (wire.header.kind == "plaintext" and is_v2_message(wire.body)):
            raise EnvelopeError("nesting", "v1 inside v2")
    _check_addressing(wire.body, recipient, sender, signer)
    if recipient is not None and sender is not None:
        return Authcrypt(plaintext, "v2", recipient, sender, signer, envelope_id)
    if signer is not None:
        return Signed(plaintext, "v2", signer, recipient, envelope_id)
    if recipient is not None:
        return Anoncrypt(plaintext, "v2", recipient, envelope_id)
    return Plaintext(plaintext, "v2")


def _read_inner(plaintext: bytes) -> Wire:
    """Reads what was inside an envelope: as `read`, and a message that some programs write though it is no JSON."""
    try:
        return read(plaintext)
    except EnvelopeError as error:
        message = read_message_leniently(plaintext) if error.code == "not-json" else None
        if message is None:
            raise
        return message


def pack(
    message: Mapping[str, Any],
    *,
    to: DidDocument | None,
    from_: tuple[DidDocument, Secrets] | None = None,
    sign_with: tuple[str, PrivateKey] | None = None,
    protect_sender: bool = False,
) -> bytes:
    """Packs a v2 message for one DID: signed, then authcrypted, then anoncrypted, as far as asked for.

    Args:
        message: a v2 plaintext message, with `from` and `to` as the protection demands.
        to: the recipient's document: the message is encrypted for all its key-agreement keys of one curve. None for a
            message that is signed only.
        from_: the sender's document, and private keys by key id: makes an authcrypt, with the first key-agreement key
            of the document of whose curve the recipient has one. None for an anoncrypt.
        sign_with: key id and private key (Ed25519, P-256, or secp256k1) of a signature inside.
        protect_sender: hides the sender's key id in an anoncrypt around the authcrypt.

    Raises:
        EnvelopeError: `not-json`, `too-deep`, `too-many-values`, `too-large`, `too-many-recipients`, `bad-key`,
            `no-common-curve`, `nothing-to-do` for a message neither signed nor encrypted, and `addressing-...` as for
            unpacking.
    """
    content = _plain(message)
    sign_kid = sign_with[0] if sign_with else None
    if to is None:
        if from_ is not None or protect_sender or sign_with is None:
            raise EnvelopeError("nothing-to-do", "a message without recipient can only be signed")
        _check_addressing(message, None, None, sign_kid)
        return _within_limit(_sign(content, sign_with))
    sender: tuple[str, PrivateKey] | None = None
    if from_ is not None:
        sender, recipients = _common_keys(*from_, to)
    else:
        recipients = _keys_of_first_curve(to)
    _check_addressing(message, recipients[0][0], None if sender is None else sender[0], sign_kid)
    if sign_with is not None:
        content = _sign(content, sign_with)
    if sender is not None:
        content = jwe.encrypt(content, recipients, sender)
    if sender is None or protect_sender:
        content = jwe.encrypt(content, recipients, None)
    return _within_limit(content)


def forward(
    packed: bytes, *, to: str, routing_keys: Sequence[str], documents: Documents, new_id: Callable[[], str]
) -> bytes:
    """Wraps a packed message for the mediators of its recipient (Routing Protocol 2.0), an anoncrypt for each.

    Args:
        packed: a v2 envelope.
        to: the recipient's DID, or DID URL of its key: `next` of the innermost forward.
        routing_keys: DIDs, or DID URLs of key-agreement keys, as a service has them: the first one opens first.
            did:key too, whose document has the X25519 key that belongs to an Ed25519 key.
        documents: of the routing keys' DIDs.
        new_id: makes the `id` of each forward message.

    Raises:
        NeedsDocument: a routing key's document is not in `documents`.
        EnvelopeError: `too-large`, `bad-key`, `not-json`.
    """
    for routing_key in reversed(routing_keys):
        did = did_of(routing_key)
        message = {
            "id": new_id(),
            "typ": "application/didcomm-plain+json",
            "type": FORWARD,
            "to": [did],
            "body": {"next": to},
            # The id is recommended, and some mediators refuse a message without.
            "attachments": [{"id": new_id(), "data": {"json": load_object(packed)}}],
        }
        document = _document(documents, did)
        if routing_key in document.key_agreement:
            recipients: _Recipients = ((routing_key, _key(document, routing_key)),)
        elif "#" not in routing_key or did.startswith("did:key:"):
            recipients = _keys_of_first_curve(document)
        else:
            raise EnvelopeError("bad-key", "the routing key is not for key agreement")
        packed = _within_limit(jwe.encrypt(write_json(message), recipients, None))
        to = routing_key
    return packed


def did_of(did_url: str) -> str:
    """Returns the DID of a DID URL, as spelled."""
    return did_url.partition("#")[0]


def same_did(one: str, other: str) -> bool:
    """Whether two DIDs are equal, or the long and the short form of one did:peer:4 (whose short form is the hash of the
    long one's document)."""
    return one == other or (one.startswith("did:peer:4") and one.split(":")[:3] == other.split(":")[:3])


def algorithm(curve: Curve) -> str | None:
    """Returns the JOSE name of signatures by keys of the curve; None for a curve that does not sign here."""
    return _SIGN_ALGS.get(curve)


def sign_bytes(data: bytes, secret: PrivateKey) -> bytes:
    """Returns a signature in the form of RFC 7515, with the `algorithm` of the key's curve."""
    from tntcore.envelope import jose

    name = _SIGN_ALGS[secret.curve]
    signature: bytes = jose.JsonWebSignature.ALGORITHMS_REGISTRY[name].sign(data, _jose_private(secret))
    return _low_s(signature) if name == "ES256K" else signature


def check_signature(data: bytes, signature: bytes, *, alg: str | None, kid: str, document: DidDocument) -> None:
    """Checks that an authentication key of the signer's document, named by `kid`, made the signature.

    Raises:
        EnvelopeError: `unknown-signer-key`, `unsupported` if the key's curve is not for `alg`, `bad-signature`.
    """
    from tntcore.envelope import jose

    method = document.method(kid)
    if method is None or method.id not in document.authentication:
        raise EnvelopeError("unknown-signer-key", "the signer's document has no such authentication key")
    name = algorithm(method.key.curve)
    if name is None or name != alg:
        raise EnvelopeError("unsupported", f"a signature {alg} with a key of {method.key.curve}")
    key = _jose_public(method.key)
    try:
        valid = jose.JsonWebSignature.ALGORITHMS_REGISTRY[name].verify(data, signature, key)
    except Exception:  # noqa: BLE001  as in jwe.decrypt
        valid = False
    if not valid:
        raise EnvelopeError("bad-signature", "the signature does not match")


def _layer(wire: Wire) -> str:
    if wire.header.kind != "encrypted":
        return wire.header.kind
    return "anoncrypt" if wire.header.sender_kid is None else "authcrypt"


def _decrypt(wire: Wire, secrets: Secrets, documents: Documents) -> tuple[str, bytes, bytes]:
    """Returns our key id, the content of a JWE, and its envelope id."""
    header = wire.header
    if _text(wire.protected, "apv").rstrip("=") != jwe.apv(header.recipient_kids):
        raise EnvelopeError("malformed", "apv does not stand for the recipients")
    index, kid = next(((i, kid) for i, kid in enumerate(header.recipient_kids) if kid in secrets), (-1, ""))
    if index < 0:
        raise EnvelopeError("wrong-key", "none of the recipients' keys is ours")
    sender = None if header.sender_kid is None else _sender_key(header.sender_kid, documents)
    return kid, *jwe.decrypt(wire, index, secrets[kid], sender)


def _sender_key(kid: str, documents: Documents) -> PublicKey:
    document = _document(documents, did_of(kid))
    method = document.method(kid)
    if method is None or method.id not in document.key_agreement:
        raise EnvelopeError("unknown-sender-key", "the sender's document has no such key-agreement key")
    return method.key


def _verify(wire: Wire, documents: Documents) -> bytes:
    """Returns the payload of a JWS after checking its signature (RFC 7515, section 5.2)."""
    kid, alg = wire.header.sender_kid or "", wire.header.alg
    signing_input = f"{wire.body['protected']}.{wire.body['payload']}".encode()
    check_signature(
        signing_input,
        base64url.decode(wire.body["signature"]),
        alg=alg,
        kid=kid,
        document=_document(documents, did_of(kid)),
    )
    return base64url.decode(wire.body["payload"])


def _check_addressing(
    message: Mapping[str, Any], recipient: str | None, sender: str | None, signer: str | None
) -> None:
    """Makes the checks of 2.1, "Message Layer Addressing Consistency", and requires the `to` that "DIDComm Signed
    Messages" demands in signed and encrypted messages, so that a recipient cannot pass a signature on as meant for
    another.
    """
    claimed, to = message.get("from"), message.get("to")
    if to is not None and not (type(to) is list and all(type(did) is str for did in to)):
        raise EnvelopeError("malformed", "to is not a list of DIDs")
    if claimed is not None and type(claimed) is not str:
        raise EnvelopeError("malformed", "from is not a DID")
    if claimed is None and (sender is not None or signer is not None):
        raise EnvelopeError("addressing-from-missing", "an authenticated message without from")
    if sender is not None and not same_did(claimed or "", did_of(sender)):
        raise EnvelopeError("addressing-from-mismatch", "from is not the DID of the sender's key")
    if signer is not None and not same_did(claimed or "", did_of(signer)):
        raise EnvelopeError("addressing-signer-mismatch", "from is not the DID of the signer's key")
    if recipient is None:
        return
    if to is None and signer is not None:
        raise EnvelopeError("addressing-to-missing", "signed and encrypted, but without to")
    if to is not None and not any(same_did(did, did_of(recipient)) for did in to):
        raise EnvelopeError("addressing-to-mismatch", "to does not name the DID of the recipient's key")


def _document(documents: Documents, did: str) -> DidDocument:
    document = documents.get(did)
    if document is None:
        raise NeedsDocument(did)
    return document


def _plain(message: Mapping[str, Any]) -> bytes:
    try:
        plaintext = write_json(dict(message))
    except TypeError:
        raise EnvelopeError("not-json", "the message is not JSON") from None
    check_plaintext_size(plaintext)
    check_depth(plaintext)
    return plaintext


def _within_limit(packed: bytes) -> bytes:
    check_wire_size(packed)
    return packed


def _sign(content: bytes, sign_with: tuple[str, PrivateKey]) -> bytes:
    kid, secret = sign_with
    name = algorithm(secret.curve)
    if name is None or not is_did_url(kid):
        raise EnvelopeError("bad-key", f"no signatures with {secret.curve}, or no DID URL as its kid")
    header = {"typ": "application/didcomm-signed+json", "alg": name}
    protected = base64url.encode(write_json(header))
    payload = base64url.encode(content)
    signature = sign_bytes(protected + b"." + payload, secret)
    entry = {
        "protected": protected.decode(),
        "signature": base64url.encode(signature).decode(),
        "header": {"kid": kid},
    }
    return write_json({"payload": payload.decode(), "signatures": [entry]})


def _low_s(signature: bytes) -> bytes:
    # OpenSSL answers either of the two valid s; the Rust libraries refuse the higher one.
    s = int.from_bytes(signature[32:], "big")
    return signature[:32] + min(s, _SECP256K1_ORDER - s).to_bytes(32, "big")


def _common_keys(from_: DidDocument, secrets: Secrets, to: DidDocument) -> tuple[tuple[str, PrivateKey], _Recipients]:
    for kid in from_.key_agreement:
        secret = secrets.get(kid)
        if secret is None:
            continue
        recipients = _keys_of_curve(to, secret.curve)
        if recipients:
            return (kid, secret), recipients
    raise EnvelopeError("no-common-curve", "no key of ours is of a curve for which the recipient has one")


def _keys_of_first_curve(document: DidDocument) -> _Recipients:
    for kid in document.key_agreement:
        method = document.methods.get(kid)
        if method is not None and method.key.curve in AGREEMENT_CURVES:
            return _keys_of_curve(document, method.key.curve)
    raise EnvelopeError("no-common-curve", "the recipient has no key that can encrypt")


def _keys_of_curve(document: DidDocument, curve: Curve) -> _Recipients:
    keys = tuple(
        (kid, document.methods[kid].key)
        for kid in document.key_agreement
        if curve in AGREEMENT_CURVES and kid in document.methods and document.methods[kid].key.curve == curve
    )
    if len(keys) > MAX_RECIPIENTS:
        raise EnvelopeError("too-many-recipients", f"{len(keys)} keys; at most {MAX_RECIPIENTS}")
    return keys


def _key(document: DidDocument, kid: str) -> PublicKey:
    method = document.methods.get(kid)
    if method is None:
        raise EnvelopeError("bad-key", "the document does not have the key it names")
    return method.key


def _text(container: Mapping[str, Any], name: str) -> str:
    value = container.get(name)
    return value if type(value) is str else ""


@lru_cache(4096)
def _jose_public(key: PublicKey) -> Any:
    return _import(jwk(key))


@lru_cache(4096)
def _jose_private(secret: PrivateKey) -> Any:
    try:
        public = jwk(secret.public)
    except DidError as error:
        raise EnvelopeError("bad-key", error.detail) from None
    return _import({**public, "d": base64url.encode(secret.raw).decode()})


def _import(members: dict[str, str]) -> Any:
    from tntcore.envelope import jose

    try:
        key: Any = cast("Any", jose.OKPKey if members["kty"] == "OKP" else jose.ECKey).import_key(members)
        key.get_op_key("verify")
    except ValueError:
        raise EnvelopeError("bad-key", f"not a key of {members['crv']}") from None
    return key
