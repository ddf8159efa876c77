"""Results of unpacking: one type for each kind of protection, so that code which needs a sender must require one."""

from __future__ import annotations

from dataclasses import dataclass, field

from tntcore.dids.document import Version


@dataclass(frozen=True, slots=True)
class Authcrypt:
    """Encrypted by a known sender key for one of our keys.

    Attributes:
        plaintext: the message, as the sender wrote it.
        recipient_kid: ours: a base58 verkey (v1, whatever its form in the envelope) or a DID URL (v2, as spelled).
        sender_kid: the key that authenticated: a base58 verkey (v1) or a DID URL (v2).
        signer_kid: the key of a verified signature inside, if any.
        envelope_id: identifies the envelope, however its parts are spelled: the nonce and the tag of its encryption.
    """

    plaintext: bytes
    version: Version
    recipient_kid: str
    sender_kid: str
    signer_kid: str | None = None
    envelope_id: bytes = field(default=b"", compare=False)


@dataclass(frozen=True, slots=True)
class Anoncrypt:
    """Encrypted for one of our keys without a sender, whatever the plaintext claims. `envelope_id`: see `Authcrypt`."""

    plaintext: bytes
    version: Version
    recipient_kid: str
    envelope_id: bytes = field(default=b"", compare=False)


@dataclass(frozen=True, slots=True)
class Signed:
    """Signed by `signer_kid`; `recipient_kid` is ours if the signed message came encrypted without a sender, and then
    it has an `envelope_id`: see `Authcrypt`.
    """

    plaintext: bytes
    version: Version
    signer_kid: str
    recipient_kid: str | None = None
    envelope_id: bytes = field(default=b"", compare=False)


@dataclass(frozen=True, slots=True)
class Plaintext:
    """Not protected at all."""

    plaintext: bytes
    version: Version


Unpacked = Authcrypt | Anoncrypt | Signed | Plaintext
