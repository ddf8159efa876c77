"""Opening an envelope, and telling who sent it."""

from __future__ import annotations

from dataclasses import dataclass

from tntcore import envelope
from tntcore.connections.connectionless import Connectionless
from tntcore.connections.first_contact import FirstContact
from tntcore.dids.document import Version
from tntcore.envelope import Anoncrypt, Authcrypt, NeedsDocument, Signed
from tntcore.errors import UNRESOLVABLE, DidError, EnvelopeError, NotYet
from tntcore.services import Services
from tntcore.tenancy.recipients import Recipient
from tntcore.tenancy.tenants import Tenant

_MAX_SIGNERS = 3  # documents that one message may make us resolve


@dataclass(frozen=True, slots=True)
class Opened:
    """A message that was opened, and whose it is.

    Attributes:
        kid: the key that authenticated it; "" if none did.
        sender: whether that key is the connection's.
        error: why it is kept but not acted upon; "" if it is in order.
        parent_id: of the invitation that it came inside of, if it did.
    """

    plaintext: bytes
    version: Version
    kid: str
    sender: bool
    error: str = ""
    parent_id: str = ""


class Opener:
    def __init__(self, services: Services, first_contact: FirstContact) -> None:
        self._services = services
        self._first_contact = first_contact
        self._connectionless = Connectionless(services)

    async def open(self, tenant: Tenant, raw: bytes, recipient: Recipient, *, last: bool) -> tuple[Recipient, Opened]:
        """The message, and whose it is. Raises `EnvelopeError`, or `NotYet` if a document may be had later."""
        documents = recipient.documents
        for _ in range(_MAX_SIGNERS):
            try:
                unpacked = envelope.unpack(raw, recipient.secrets, documents)
                recipient = await self._first_contact.owner(tenant, recipient, unpacked)
                recipient = await self._connectionless.owner(tenant, recipient, unpacked)
                return recipient, _check(unpacked, recipient)
            except NeedsDocument as needed:
                try:
                    documents[needed.did] = await self._services.resolver.resolve(needed.did)
                except DidError as error:
                    if error.code == UNRESOLVABLE and not last:
                        raise NotYet("the sender's document cannot be had now") from error
                    raise EnvelopeError("sender-unresolvable", error.detail) from error
        raise EnvelopeError("sender-unresolvable", "it names too many senders")


def _check(unpacked: envelope.Unpacked, recipient: Recipient) -> Opened:
    """Whether who authenticated the message is whom the connection is with.

    The type says how the message was protected; only what was authenticated has a sender.
    """
    match unpacked:
        case Authcrypt(plaintext=plaintext, version=version, sender_kid=sender):
            pass
        case Signed(plaintext=plaintext, version=version, recipient_kid=str(), signer_kid=sender):
            pass
        case Anoncrypt(plaintext=plaintext, version=version):
            return Opened(plaintext, version, "", sender=False)
        case _:
            raise EnvelopeError("not-encrypted", "the message was not encrypted for anyone")
    if recipient.theirs is None:
        return Opened(plaintext, version, sender, sender=False, error="sender-unknown")
    if version == "v1":
        known = sender in recipient.their_verkeys
    else:
        did = sender.partition("#")[0]
        known = did in recipient.their_dids
    if not known:
        return Opened(plaintext, version, sender, sender=False, error="sender-not-connection")
    if recipient.connection is not None and recipient.connection.state in ("abandoned",):
        return Opened(plaintext, version, sender, sender=False, error="connection-abandoned")
    return Opened(plaintext, version, sender, sender=True)
