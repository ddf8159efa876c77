"""Packing and unpacking of DIDComm messages, v1 (RFC 0019) and v2 (DIDComm Messaging 2.1). Pure: no I/O, no clock.

Every failure is an `EnvelopeError` with one of these codes. The sender must not learn them.

- size and shape: `too-large`, `not-json`, `too-deep`, `too-many-values`, `not-an-envelope`, `malformed`,
  `too-many-recipients`, `unsupported`, `zip-refused`, `nesting`
- keys: `wrong-key` (no recipient is ours), `bad-key`, `low-order-epk`, `unknown-sender-key`, `unknown-signer-key` (the
  document does not have that key for that purpose), `needs-document`
- cryptography: `cannot-decrypt`, `tampered`, `bad-signature`
- addressing (v2; the last one v1 too): `addressing-from-missing`, `addressing-from-mismatch`, `addressing-to-missing`,
  `addressing-to-mismatch`, `addressing-signer-mismatch`
- `from_prior` (v2, checked apart): `from-prior-malformed`, `from-prior-signature`, `from-prior-expired`
- packing only: `no-common-curve`, `nothing-to-do`
"""

from __future__ import annotations

from tntcore.envelope import v1, v2
from tntcore.envelope.errors import NeedsDocument
from tntcore.envelope.keys import PrivateKey, Secrets, normalise_verkey, to_x25519, verkey_to_did_key
from tntcore.envelope.limits import MAX_PLAINTEXT, MAX_RECIPIENTS, MAX_WIRE, parse_json
from tntcore.envelope.results import Anoncrypt, Authcrypt, Plaintext, Signed, Unpacked
from tntcore.envelope.v1 import forward as forward_v1
from tntcore.envelope.v1 import pack as pack_v1
from tntcore.envelope.v2 import Documents, same_did
from tntcore.envelope.v2 import forward as forward_v2
from tntcore.envelope.v2 import pack as pack_v2
from tntcore.envelope.wire import Header, read
from tntcore.errors import EnvelopeError

__all__ = [
    "MAX_PLAINTEXT",
    "MAX_RECIPIENTS",
    "MAX_WIRE",
    "Anoncrypt",
    "Authcrypt",
    "Documents",
    "EnvelopeError",
    "Header",
    "NeedsDocument",
    "Plaintext",
    "PrivateKey",
    "Secrets",
    "Signed",
    "Unpacked",
    "forward_v1",
    "forward_v2",
    "normalise_verkey",
    "pack_v1",
    "pack_v2",
    "parse_json",
    "peek",
    "same_did",
    "to_x25519",
    "unpack",
    "verkey_to_did_key",
]


def peek(raw: bytes) -> Header:
    """Reads a packed message's unencrypted headers, without cryptography: cheap enough for every message received.

    Raises:
        EnvelopeError: `too-large`, `not-json`, `too-deep`, `too-many-values`, `not-an-envelope`, `malformed`,
            `too-many-recipients`, `unsupported`, `zip-refused`.
    """
    return read(raw).header


def unpack(raw: bytes | str, secrets: Secrets, documents: Documents) -> Unpacked:
    """Opens a message with the first of its recipient keys that is in `secrets`.

    Args:
        raw: the packed message.
        secrets: our private keys by kid: Ed25519 by base58 verkey (v1), or by DID URL (v2).
        documents: resolved documents of v2 senders and signers, by DID.

    Returns:
        A type for each kind of protection; the plaintext is byte for byte what was sent. A v1 plaintext need not be
        JSON. `from_prior` of a v2 message is left in it, unverified.

    Raises:
        NeedsDocument: resolve its `did`, add it to `documents`, and call again.
        EnvelopeError: any other code listed in this package's description. Nothing else is raised, for any input.
    """
    if isinstance(raw, str):
        try:
            raw = raw.encode()
        except UnicodeEncodeError:
            raise EnvelopeError("not-json", "not text in UTF-8") from None
    wire = read(raw)
    if wire.header.version == "v1":
        return v1.unpack(wire, raw, secrets)
    return v2.unpack(wire, raw, secrets, documents)
