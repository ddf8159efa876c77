"""Reusing a connection for another invitation (RFC 0434, "Reuse Messages")."""

from __future__ import annotations

from dataclasses import replace

from tntcore.connections.effect import Effect
from tntcore.connections.handshake import find_invitation, is_good
from tntcore.connections.sender import OtherSide
from tntcore.messaging.ids import random_uuid
from tntcore.messaging.message import Message
from tntcore.protocols import out_of_band as rfc
from tntcore.services import Services
from tntcore.tenancy.tenants import Tenant


class Reuse:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def receive(self, tenant: Tenant, sender: OtherSide, message: Message) -> Effect | None:
        """What a `handshake-reuse`, by the connection's other side, does; None for any other message.

        One that names no invitation of the same identity that is still good is not answered: the other side then does a
        handshake.
        """
        if not rfc.is_reuse(message):
            return None
        connection = sender.connection
        effect = Effect(connection, ordinary=True)
        invitation = await find_invitation(self._services.lookups, tenant, message.pthid or "")
        now = self._services.now()
        if invitation is None or invitation.identity_uuid != connection.identity_uuid or not is_good(invitation, now):
            return effect
        if not invitation.multi_use:
            effect.invitation = replace(invitation, status="USED", updated_at=now)
        effect.replies.append(rfc.reuse_accepted(message, message_id=random_uuid(self._services.random)))
        return effect
