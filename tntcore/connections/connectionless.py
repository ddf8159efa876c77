"""Requests without a handshake (Aries RFC 0434, "Responses", invitations with `requests~attach` alone; RFC 0056): the
invited side answers at once, with its own keys in `~service`.

Authentication: an answer is on the thread of an attached request, and `~service` must name the key that authenticated
it. From then on that key is the connection's other side, and `~service` of any other message is ignored. For the
invited side, the inviter is the holder of the invitation's keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tntcore.connections import names
from tntcore.connections.connection import pairwise, start
from tntcore.connections.documents import MAX_DOCUMENT
from tntcore.connections.effect import Effect, Reaction, Refusal, Refused
from tntcore.connections.handshake import is_good
from tntcore.connections.sender import Anonymous, OtherSide, Sender
from tntcore.dids import key as did_key
from tntcore.dids.document import DidService
from tntcore.envelope import Authcrypt, Unpacked
from tntcore.envelope.keys import verkey_to_did_key
from tntcore.errors import DidError
from tntcore.messaging.ids import delivery_uuid, random_uuid
from tntcore.messaging.invitations import InvitationMessage, read_service
from tntcore.messaging.message import Message
from tntcore.messaging.problems import is_problem_report
from tntcore.protocols import did_exchange, did_rotate
from tntcore.protocols.out_of_band import PREFIX as OUT_OF_BAND_1
from tntcore.services import Services
from tntcore.storage.records import Connection, Contact, Identity, Invitation, short_hash
from tntcore.storage.states import COMPLETED, ContactStatus, InvitationStatus
from tntcore.strict_json import write_json
from tntcore.tenancy.recipients import KeyPairs, Recipient
from tntcore.tenancy.tenants import Tenant


class Connectionless:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def owner(self, tenant: Tenant, recipient: Recipient, unpacked: Unpacked) -> Recipient:
        """Finds the connection that a message to `recipient` belongs to. A message to an invitation's key belongs to
        its sender's connection, if the sender answered before.
        """
        invitation = recipient.invitation
        if invitation is None or not invitation.threads or not isinstance(unpacked, Authcrypt):
            return recipient
        # Read anew each time: see `FirstContact.owner`.
        uuid = Connection.uuid_of(recipient.identity_uuid, _contact_uuid(invitation, unpacked.sender_kid))
        connection = await tenant.records.get(Connection, uuid)
        if connection is None or connection.invitation_uuid != invitation.uuid:
            return recipient
        known = await self._services.tenants.open_recipient(tenant, connection)
        return known if unpacked.sender_kid in known.their_verkeys else recipient

    # The inviter.

    async def receive(self, tenant: Tenant, recipient: Recipient, message: Message, sender: Sender) -> Reaction | None:
        """Returns the effect of an answer to an attached request: its sender becomes a contact. None for any other
        message, such as a problem report that needs no answer.

        Args:
            recipient: the result of `owner`.
        """
        invitation = recipient.invitation
        if recipient.connection is not None or invitation is None or message.version != "v1":
            return None
        if isinstance(sender, Anonymous):
            return None
        if short_hash(message.thid) not in invitation.threads or did_exchange.read_step(message) is not None:
            return None
        if is_problem_report(message.type) and "~service" not in message.fields:
            return None
        try:
            return await self._answered(tenant, invitation, message, sender.kid)
        except Refused as refused:
            return Refusal(refused.code)

    async def _answered(self, tenant: Tenant, invitation: Invitation, message: Message, verkey: str) -> Effect:
        now = self._services.now()
        if not is_good(invitation, now):
            raise Refused("invitation-not-valid", "the invitation was used or has expired")
        if message.pthid not in (None, invitation.invitation_id):
            raise Refused("invitation-unknown", "it names another invitation than its key belongs to")
        theirs = _decorated(message, verkey)
        identity = await tenant.records.get(Identity, invitation.identity_uuid)
        if identity is None:
            raise Refused("identity-gone", "the identity of the invitation was deleted")
        contact = Contact(
            uuid=_contact_uuid(invitation, verkey),
            status=ContactStatus.ACCEPTED,
            did=str(theirs["id"]),
            named=True,
            created_at=now,
            updated_at=now,
        )
        connection = start(identity, contact, now)
        connection.role, connection.state, connection.protocol = "responder", COMPLETED, OUT_OF_BAND_1
        connection.thid, connection.pthid = message.thid, invitation.invitation_id
        connection.invitation_uuid = invitation.uuid
        connection.their_did, connection.their_document = contact.did, theirs
        # The other side knows no key of ours but the invitation's.
        keys = KeyPairs.deserialise(tenant.records.open(invitation.keys, invitation.key))
        connection.my_did, connection.my_document = invitation.did, invitation.document
        connection.keys = tenant.records.seal(keys.serialise(), connection.key)
        effect = Effect(connection, contact=contact)
        if not invitation.multi_use:
            effect.invitation = replace(invitation, status=InvitationStatus.USED, updated_at=now)
        return effect

    def keeps_key(self, sender: OtherSide, message: Message, kind: did_rotate.MessageKind) -> Effect | None:
        """Refuses a DID rotation (RFC 0794) of an invited side that still writes to the invitation's key: only its own
        key distinguishes its messages from others' there. None for any other message.
        """
        connection = sender.connection
        at_invitation = (connection.protocol, connection.role) == (OUT_OF_BAND_1, "responder")
        if kind != "rotate" or not at_invitation or connection.former_did:
            return None
        report = did_rotate.problem_report(
            message,
            message_id=random_uuid(self._services.random),
            code=did_rotate.DOC_UNSUPPORTED,
            did=str(message.fields.get("to_did"))[:2000],
        )
        return Effect(connection, ordinary=True, replies=[report])

    # The invited side.

    def accept(
        self,
        tenant: Tenant,
        connection: Connection,
        contact: Contact,
        content: InvitationMessage,
        theirs: Mapping[str, Any],
    ) -> Effect:
        """Completes a new connection at once; its inviter learns of it from the first message.

        Args:
            theirs: a document of the inviter's service.
        """
        keys = KeyPairs.generate()
        mine = pairwise(self._services, keys, connection.did_method)
        contact.status = ContactStatus.ACCEPTED
        connection.role, connection.state, connection.protocol = "requester", COMPLETED, OUT_OF_BAND_1
        connection.pthid = content.id
        connection.my_did, connection.my_document = mine.id, dict(mine.raw)
        connection.keys = tenant.records.seal(keys.serialise(), connection.key)
        # The maker of the invitation chose its contents, and has not proven to have these keys.
        connection.their_document = dict(theirs)
        names.claim(connection, str(theirs["id"]))
        connection.introduction = {"pthid": content.id}
        return Effect(connection, contact=contact, keys=tuple(keys.by_kid(mine)))

    def heard(self, sender: OtherSide, effect: Reaction | None) -> Reaction | None:
        """Returns the effect of a message from the connection's other side, which ends our introduction: as the message
        was for our key, the other side has it.
        """
        connection = sender.connection
        if connection.version != "v1" or not connection.introduction:
            return effect
        if effect is None:
            effect = Effect(replace(connection, updated_at=self._services.now()), ordinary=True)
        if isinstance(effect, Effect):
            effect.connection = replace(effect.connection, introduction={})
        return effect


def inline_document(service: DidService) -> dict[str, Any]:
    """Makes a document of an inline service (RFC 0434, RFC 0056): its keys authenticate, its endpoint receives
    messages.
    """
    keys = [did_key.resolve(verkey_to_did_key(verkey)) for verkey in service.recipient_keys]
    methods = [next(iter(document.raw["verificationMethod"])) for document in keys]
    return {
        "id": keys[0].id,
        "verificationMethod": methods,
        "authentication": [method["id"] for method in methods],
        "service": [
            {
                "id": f"{keys[0].id}#did-communication",
                "type": "did-communication",
                "priority": 0,
                "recipientKeys": list(service.recipient_keys),
                "routingKeys": list(service.routing_keys),
                "serviceEndpoint": service.endpoint,
            }
        ],
    }


def _decorated(message: Message, verkey: str) -> dict[str, Any]:
    """Makes a document of the message's `~service`, in which only the sender's key counts. Raises `Refused`."""
    try:
        service = read_service(message.fields.get("~service"))
        if verkey not in service.recipient_keys:
            raise Refused("service-not-accepted", "the sender's key is not in the service that it brings")
        if not service.endpoint.startswith(("https://", "http://")):
            raise Refused("service-not-accepted", "the service is not at an https or http URL")
        document = inline_document(replace(service, recipient_keys=(verkey,)))
    except DidError as error:
        raise Refused("service-not-accepted", error.detail) from error
    if len(write_json(document)) > MAX_DOCUMENT:
        raise Refused("service-not-accepted", "the service is too large")
    return document


def _contact_uuid(invitation: Invitation, verkey: str) -> str:
    """Returns the uuid of the contact for a key's owner at an invitation: always the same."""
    return delivery_uuid(invitation.uuid, f"contact/{verkey}")
