"""DIDComm v1 envelopes: RFC 0019 (Encryption Envelope, revision of 2019-2021), RFC 0094 (forward).

Other software differs from the RFC. This module reads what it really sends:

- every implementation labels `enc` `xchacha20poly1305_ietf` and uses ChaCha20-Poly1305-IETF, whose nonce has 12 bytes:
  so the nonce's length decides, not the label. The RFC's label is written.
- base64url comes padded and unpadded; written padded, which all of them read.
- DIDComm-js writes `iv` and `sender` as null in an anoncrypt, and can sign: a compact JWS whose signature part is
  libsodium's signed message (signature, then the text it signs).

Several recipients share one content key, so each of them can make an authcrypt that opens as the sender's for the
others; nothing on the receiving side can tell. Senders who care write one envelope per recipient, as we do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

import orjson
from nacl import bindings
from nacl.exceptions import CryptoError

from tntcore.dids.multiformats import decode_verkey, encode_verkey
from tntcore.envelope import base64url
from tntcore.envelope.keys import PrivateKey, Secrets, box_keys, normalise_verkey, shared_box_key, x25519_of
from tntcore.envelope.limits import (
    MAX_RECIPIENTS,
    check_plaintext_size,
    check_wire_size,
    parse_json,
)
from tntcore.envelope.results import Anoncrypt, Authcrypt, Plaintext, Signed, Unpacked
from tntcore.envelope.wire import Wire, read_v1_signed
from tntcore.errors import DidError, EnvelopeError
from tntcore.strict_json import MAX_DEPTH, write_json

FORWARD: Final = "https://didcomm.org/routing/1.0/forward"

_TAG: Final = bindings.crypto_aead_chacha20poly1305_ietf_ABYTES
_NONCE: Final = bindings.crypto_aead_chacha20poly1305_ietf_NPUBBYTES
_XNONCE: Final = bindings.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
_BOX_NONCE: Final = bindings.crypto_box_NONCEBYTES


def unpack(wire: Wire, raw: bytes, secrets: Secrets) -> Unpacked:
    """Opens a v1 message already parsed by `wire.read`; see `tntcore.envelope.unpack` for the errors."""
    if wire.header.kind == "plaintext":
        return Plaintext(raw, "v1")
    if wire.header.kind == "signed":
        return Signed(_verify(wire), "v1", _signer(wire))
    plaintext, recipient, sender, envelope_id = _decrypt(wire, secrets)
    signer = None
    inner = read_v1_signed(plaintext)
    if inner is not None:
        plaintext, signer = _verify(inner), _signer(inner)
    elif plaintext.count(b"{") + plaintext.count(b"[") > MAX_DEPTH:
        _refuse_deep(plaintext)
    check_plaintext_size(plaintext)
    if sender is not None:
        if signer not in (None, sender):
            raise EnvelopeError("addressing-signer-mismatch", "signed by another key than the sender's")
        return Authcrypt(plaintext, "v1", recipient, sender, signer, envelope_id)
    if signer is not None:
        return Signed(plaintext, "v1", signer, recipient, envelope_id)
    return Anoncrypt(plaintext, "v1", recipient, envelope_id)


def pack(plaintext: bytes, *, recipients: Sequence[str], sender: PrivateKey | None) -> bytes:
    """One envelope for all `recipients`.

    Args:
        plaintext: the message; need not be JSON.
        recipients: 1 to `MAX_RECIPIENTS` Ed25519 keys: base58 verkeys, did:key, or did:key DID URLs. For an authcrypt
            give one, and pack again for the next: co-recipients can forge each other's sender.
        sender: an Ed25519 key (authcrypt), or None (anoncrypt).

    Returns:
        The envelope as JSON, kids as base58 verkeys, base64url padded.

    Raises:
        EnvelopeError: `too-large`, `too-many-recipients`, `bad-key`.
    """
    check_plaintext_size(plaintext)
    return _seal(plaintext, recipients, sender)


def forward(packed: bytes, *, to: str, routing_keys: Sequence[str], new_id: Callable[[], str]) -> bytes:
    """Wraps a packed message for the mediators of its recipient (RFC 0094), an anoncrypt for each routing key.

    Args:
        packed: a v1 envelope.
        to: the recipient's key.
        routing_keys: from the recipient outwards, as RFC 0067 orders them: the last one opens first. Keys in any form
            that `pack` takes.
        new_id: makes the `@id` of each forward message.

    Raises:
        EnvelopeError: `too-large`, `bad-key`.
    """
    next_hop = _verkey(to)
    for routing_key in routing_keys:
        message = {"@type": FORWARD, "@id": new_id(), "to": next_hop, "msg": orjson.Fragment(packed)}
        packed = _seal(write_json(message), [routing_key], None)
        next_hop = _verkey(routing_key)
    return packed


def _seal(plaintext: bytes, recipients: Sequence[str], sender: PrivateKey | None) -> bytes:
    if not 0 < len(recipients) <= MAX_RECIPIENTS:
        raise EnvelopeError("too-many-recipients", f"{len(recipients)} recipients; 1 to {MAX_RECIPIENTS} are possible")
    content_key = os.urandom(32)
    entries = [_entry(content_key, _verkey(recipient), sender) for recipient in recipients]
    protected = base64url.encode_padded(
        write_json(
            {
                "enc": "xchacha20poly1305_ietf",
                "typ": "JWM/1.0",
                "alg": "Anoncrypt" if sender is None else "Authcrypt",
                "recipients": entries,
            }
        )
    )
    nonce = os.urandom(_NONCE)
    sealed = bindings.crypto_aead_chacha20poly1305_ietf_encrypt(plaintext, protected, nonce, content_key)
    packed = b'{"protected":"%b","iv":"%b","ciphertext":"%b","tag":"%b"}' % (
        protected,
        base64url.encode_padded(nonce),
        base64url.encode_padded(sealed[:-_TAG]),
        base64url.encode_padded(sealed[-_TAG:]),
    )
    check_wire_size(packed)
    return packed


def _entry(content_key: bytes, verkey: str, sender: PrivateKey | None) -> dict[str, Any]:
    target = _box_public(verkey)
    if sender is None:
        encrypted_key = bindings.crypto_box_seal(content_key, target)
        return {"encrypted_key": base64url.encode_padded(encrypted_key).decode(), "header": {"kid": verkey}}
    nonce = os.urandom(_BOX_NONCE)
    encrypted_key = bindings.crypto_box_afternm(content_key, nonce, _shared(target, sender))
    return {
        "encrypted_key": base64url.encode_padded(encrypted_key).decode(),
        "header": {
            "kid": verkey,
            "sender": base64url.encode_padded(bindings.crypto_box_seal(_own_verkey(sender), target)).decode(),
            "iv": base64url.encode_padded(nonce).decode(),
        },
    }


def _decrypt(wire: Wire, secrets: Secrets) -> tuple[bytes, str, str | None, bytes]:
    """Returns the plaintext, our key, the sender's key if there is one, and the envelope's id."""
    for index, recipient in enumerate(wire.header.recipient_kids):
        secret = secrets.get(recipient)
        if secret is not None:
            entry = wire.protected["recipients"][index]
            break
    else:
        raise EnvelopeError("wrong-key", "none of the recipients' keys is ours")
    content_key, sender = _open_entry(entry, secret, wire.header.alg == "Authcrypt")
    nonce, text, tag = (base64url.decode(wire.body.get(name)) for name in ("iv", "ciphertext", "tag"))
    if len(tag) != _TAG:
        raise EnvelopeError("malformed", f"a tag of other than {_TAG} bytes")
    sealed = text + tag
    aad = wire.body["protected"].encode()
    try:
        if len(nonce) == _NONCE:
            plaintext = bindings.crypto_aead_chacha20poly1305_ietf_decrypt(sealed, aad, nonce, content_key)
        elif len(nonce) == _XNONCE:
            plaintext = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, aad, nonce, content_key)
        else:
            raise EnvelopeError("malformed", "a nonce of neither 12 nor 24 bytes")
    except CryptoError:
        raise EnvelopeError("tampered", "the message does not match its tag") from None
    return plaintext, recipient, sender, nonce + tag


def _open_entry(entry: dict[str, Any], secret: PrivateKey, authenticated: bool) -> tuple[bytes, str | None]:
    """Returns the content key and the sender's verkey, from our entry among the recipients."""
    header = entry["header"]
    has_sender = header.get("sender") is not None
    if has_sender != authenticated or (header.get("iv") is not None) != authenticated:
        raise EnvelopeError("malformed", "sender and iv belong to Authcrypt, and to it alone")
    encrypted_key = base64url.decode(entry.get("encrypted_key"))
    public, private = box_keys(_seed(secret))
    sender = None
    try:
        if authenticated:
            sender = _verkey(
                bindings.crypto_box_seal_open(base64url.decode(header["sender"]), public, private).decode()
            )
            nonce = base64url.decode(header["iv"])
            shared = shared_box_key(_box_public(sender), secret.raw)
            content_key = bindings.crypto_box_open_afternm(encrypted_key, nonce, shared)
        else:
            content_key = bindings.crypto_box_seal_open(encrypted_key, public, private)
    # PyNaCl's length checks are ValueError and TypeError, and so is text that is not UTF-8.
    except (CryptoError, ValueError, TypeError):
        raise EnvelopeError("cannot-decrypt", "our key does not open the content key") from None
    if len(content_key) != 32:
        raise EnvelopeError("malformed", "a content key of other than 32 bytes")
    return content_key, sender


def _verify(wire: Wire) -> bytes:
    """Returns the payload of DIDComm-js's compact JWS, if its signature is by the kid and over exactly this text."""
    body = wire.body
    try:
        signed = bindings.crypto_sign_open(base64url.decode(body["signature"]), decode_verkey(_signer(wire)).raw)
    except CryptoError:
        signed = b""
    if signed != f"{body['protected']}.{body['payload']}".encode():
        raise EnvelopeError("bad-signature", "the signature does not match")
    return base64url.decode(body["payload"])


def _signer(wire: Wire) -> str:
    signer = wire.header.sender_kid
    if signer is None:
        raise EnvelopeError("malformed", "a signature without signer")
    return signer


def _refuse_deep(plaintext: bytes) -> None:
    """Refuses a plaintext that is JSON and too deep. A v1 plaintext need not be JSON."""
    try:
        parse_json(plaintext)
    except EnvelopeError as error:
        if error.code == "too-deep":
            raise


def _seed(secret: PrivateKey) -> bytes:
    if secret.curve != "Ed25519" or len(secret.raw) != 32:
        raise EnvelopeError("bad-key", "a v1 key is an Ed25519 seed")
    return secret.raw


def _shared(target: bytes, sender: PrivateKey) -> bytes:
    try:
        return shared_box_key(target, _seed(sender))
    except CryptoError:
        raise EnvelopeError("bad-key", "a recipient's key has small order") from None


def _verkey(text: str) -> str:
    try:
        return normalise_verkey(text)
    except DidError as error:
        raise EnvelopeError("bad-key", error.detail) from None


def _box_public(verkey: str) -> bytes:
    try:
        return _cached_box_public(verkey)
    except DidError as error:
        raise EnvelopeError("bad-key", error.detail) from None


@lru_cache(4096)
def _cached_box_public(verkey: str) -> bytes:
    return x25519_of(decode_verkey(verkey).raw)


@lru_cache(4096)
def _own_verkey(sender: PrivateKey) -> bytes:
    return encode_verkey(sender.public).encode()
