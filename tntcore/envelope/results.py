"""What unpacking a message gives: a type for each way in which it was protected, so that code which needs a sender
has to ask for one."""

from __future__ import annotations

from dataclasses import dataclass

from tntcore.dids.document import Version


@dataclass(frozen=True, slots=True)
class Authcrypt:
    """Encrypted by a known sender key for one of ours.

    Attributes:
        plaintext: the message, as the sender wrote it.
        recipient_kid: ours: a base58 verkey (v1, whatever form the envelope has it in) or a DID URL (v2, as spelled).
        sender_kid: the key that authenticated: a base58 verkey (v1) or a DID URL (v2).
        signer_kid: whose signature was found inside and verified, if any.
    """

    plaintext: bytes
    version: Version
    recipient_kid: str
    sender_kid: str
    signer_kid: str | None = None


@dataclass(frozen=True, slots=True)
class Anoncrypt:
    """Encrypted for one of our keys by nobody in particular. There is no sender, whatever the plaintext claims."""

    plaintext: bytes
    version: Version
    recipient_kid: str


@dataclass(frozen=True, slots=True)
class Signed:
    """Signed by `signer_kid`; `recipient_kid` is ours when the signed message came encrypted without a sender."""

    plaintext: bytes
    version: Version
    signer_kid: str
    recipient_kid: str | None = None


@dataclass(frozen=True, slots=True)
class Plaintext:
    """Not protected at all."""

    plaintext: bytes
    version: Version


Unpacked = Authcrypt | Anoncrypt | Signed | Plaintext
