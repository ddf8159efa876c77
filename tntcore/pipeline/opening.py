"""Opens envelopes, and determines their sender."""

from __future__ import annotations

from dataclasses import dataclass

from tntcore import envelope
from tntcore.connections.received import Received
from tntcore.connections.sender import Anonymous, OtherSide, Sender, Stranger, other_side
from tntcore.dids.document import Version
from tntcore.envelope import Anoncrypt, Authcrypt, NeedsDocument, Signed
from tntcore.errors import UNRESOLVABLE, DidError, EnvelopeError, NotYet
from tntcore.messaging.forwards import forwarded
from tntcore.services import Services
from tntcore.tenancy.recipients import Recipient
from tntcore.tenancy.tenants import Tenant

_MAX_SIGNERS = 3  # documents that one message may make us resolve
_MAX_WRAPS = 4  # envelopes in each other


@dataclass(frozen=True, slots=True)
class Opened:
    """An opened message and its sender. `envelope_id`: of the envelope that was opened, see `envelope.Authcrypt`."""

    plaintext: bytes
    version: Version
    sender: Sender
    envelope_id: bytes


class Opener:
    def __init__(self, services: Services, received: Received) -> None:
        self._services = services
        self._received = received

    async def open(self, tenant: Tenant, raw: bytes, recipient: Recipient, *, last: bool) -> tuple[Recipient, Opened]:
        """Returns the recipient and the message. Raises `EnvelopeError`, or `NotYet` if a document may become available
        later.
        """
        documents = recipient.documents
        for _ in range(_MAX_SIGNERS):
            try:
                unpacked = _unpack(raw, recipient, documents)
                recipient = await self._received.owner(tenant, recipient, unpacked)
                return recipient, _check(unpacked, recipient)
            except NeedsDocument as needed:
                try:
                    documents[needed.did] = await self._services.resolver.resolve(needed.did)
                except DidError as error:
                    if error.code == UNRESOLVABLE and not last:
                        raise NotYet("the sender's document cannot be had now") from error
                    raise EnvelopeError("sender-unresolvable", error.detail) from error
        raise EnvelopeError("sender-unresolvable", "it names too many senders")


def _unpack(raw: bytes, recipient: Recipient, documents: envelope.Documents) -> envelope.Unpacked:
    """Opens an envelope, and one forwarded inside it to the same recipient (DIDComm Messaging 2.1, "Rewrapping"; RFC
    0094). Raises `EnvelopeError` or `NeedsDocument`.
    """
    for _ in range(_MAX_WRAPS):
        unpacked = envelope.unpack(raw, recipient.secrets, documents)
        inner = forwarded(unpacked.plaintext, unpacked.version)
        if inner is None or not _is_for(inner, recipient):
            return unpacked
        raw = inner
    raise EnvelopeError("nesting", f"more than {_MAX_WRAPS - 1} forwards to the recipient itself")


def _is_for(packed: bytes, recipient: Recipient) -> bool:
    try:
        return any(kid in recipient.secrets for kid in envelope.peek(packed).recipient_kids)
    except EnvelopeError:
        return False


def _check(unpacked: envelope.Unpacked, recipient: Recipient) -> Opened:
    """Compares the authenticated sender with the other side of the connection."""
    match unpacked:
        case Authcrypt(sender_kid=kid) | Signed(recipient_kid=str(), signer_kid=kid):
            sender: Sender = _sender(unpacked.version, kid, recipient)
        case Anoncrypt():
            sender = Anonymous()
        case _:
            raise EnvelopeError("not-encrypted", "the message was not encrypted for anyone")
    return Opened(unpacked.plaintext, unpacked.version, sender, unpacked.envelope_id)


def _sender(version: Version, kid: str, recipient: Recipient) -> Stranger | OtherSide:
    connection = recipient.connection
    if connection is None or recipient.theirs is None:
        return Stranger(kid, "sender-unknown")
    known = kid in recipient.their_verkeys if version == "v1" else kid.partition("#")[0] in recipient.their_dids
    if not known:
        return Stranger(kid, "sender-not-connection")
    if connection.state == "abandoned":
        return Stranger(kid, "connection-abandoned")
    return other_side(connection, kid)
