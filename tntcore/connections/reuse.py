"""Reuses a connection for another invitation (RFC 0434, "Reuse Messages").

An invitation is not signed: that it names a partner's DID does not show who made it. So the partner is asked, and the
attached messages are received only after its own key has agreed, as on a new connection; the RFC would receive them at
once. If the partner does not agree in time, or is gone, a new connection begins (`Acceptance.begin_anyway`) as if there
were none.
"""

from __future__ import annotations

from dataclasses import replace

from tntcore.connections.effect import Effect
from tntcore.connections.handshake import find_invitation, is_good
from tntcore.connections.sender import OtherSide
from tntcore.messaging.ids import random_uuid
from tntcore.messaging.invitations import InvitationMessage, read_invitation
from tntcore.messaging.message import Message
from tntcore.protocols import out_of_band as rfc
from tntcore.services import Services
from tntcore.storage.records import AttachedMessage, Connection, Contact, PendingReuse, sent_id
from tntcore.storage.states import ContactStatus, InvitationStatus
from tntcore.strict_json import reread_json, write_json
from tntcore.tenancy.tenants import Tenant


class Reuse:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def receive(
        self, tenant: Tenant, sender: OtherSide, message: Message, kind: rfc.MessageKind
    ) -> Effect | None:
        """Returns the effect of a message of the protocol from the connection's other side; None for none.

        If it names no valid invitation of the same identity it is not answered: the other side then does a handshake.
        """
        if kind == "reuse-accepted":
            return await self._accepted(tenant, sender.connection, message)
        connection = sender.connection
        effect = Effect(connection, ordinary=True)
        invitation = await find_invitation(self._services.lookups, tenant, message.pthid or "")
        now = self._services.now()
        if invitation is None or invitation.identity_uuid != connection.identity_uuid or not is_good(invitation, now):
            return effect
        if not invitation.multi_use:
            effect.invitation = replace(invitation, status=InvitationStatus.USED, updated_at=now)
        effect.replies.append(rfc.reuse_accepted(message, message_id=random_uuid(self._services.random)))
        return effect

    async def _accepted(self, tenant: Tenant, connection: Connection, message: Message) -> Effect | None:
        """Returns the effect of a `handshake-reuse-accepted`. One that answers nothing, or too late, has none."""
        waiting = await tenant.records.get(PendingReuse, sent_id(connection.uuid, message.thid))
        if waiting is None:
            return None
        content = read_reuse(tenant, waiting)[0]
        if message.pthid not in (None, content.id):
            return None
        changed = replace(connection, updated_at=self._services.now())
        return Effect(changed, ordinary=True, attached=attached(self._services, tenant, changed, content), ends=waiting)


def attached(
    services: Services, tenant: Tenant, connection: Connection, content: InvitationMessage
) -> list[AttachedMessage]:
    """Returns the messages attached to an invitation, to be received once the connection is completed."""
    found = []
    for request in content.requests:
        uuid = f"{connection.uuid}.{services.uuid7()}"
        record = AttachedMessage(uuid=uuid, parent_id=content.id, created_at=connection.updated_at)
        record.body = tenant.records.seal(write_json(request), record.key)
        found.append(record)
    return found


def write_reuse(
    tenant: Tenant, record: PendingReuse, content: InvitationMessage, contact: Contact, did_method: str | None
) -> None:
    """Stores in the record the invitation, the contact for its maker, and the method of our DID."""
    given = {"display_name": contact.display_name, "internal_ref": contact.internal_ref, "email": contact.email}
    whole = {
        "invitation": content.raw,
        "contact": {**given, "claimed_did": contact.claimed_did},
        "didMethod": did_method,
    }
    record.content = tenant.records.seal(write_json(whole), record.key)


def read_reuse(tenant: Tenant, record: PendingReuse) -> tuple[InvitationMessage, Contact, str | None]:
    """Returns the invitation, the contact that its maker becomes if no connection is reused, and the method of our DID
    then.
    """
    whole = reread_json(tenant.records.open(record.content, record.key))
    contact = Contact(
        uuid=record.contact_uuid, status=ContactStatus.REQUESTED, created_at=record.created_at, **whole["contact"]
    )
    return read_invitation(whole["invitation"]), contact, whole.get("didMethod")
