"""Effects of received messages on the connection itself: it begins, changes or ends."""

from __future__ import annotations

from dataclasses import replace

from tntcore.connections import names
from tntcore.connections.connectionless import Connectionless
from tntcore.connections.effect import Effect, Reaction
from tntcore.connections.first_contact import FirstContact
from tntcore.connections.handshake import Handshake
from tntcore.connections.reuse import Reuse
from tntcore.connections.rotation import Rotation
from tntcore.connections.sender import OtherSide, Sender
from tntcore.envelope import Unpacked
from tntcore.messaging.message import Message
from tntcore.protocols import did_rotate, out_of_band
from tntcore.services import Services
from tntcore.tenancy.recipients import Recipient
from tntcore.tenancy.tenants import Tenant


class Received:
    """The protocols of connections, in the order in which they are asked about a message."""

    def __init__(self, services: Services, handshake: Handshake, rotation: Rotation) -> None:
        self._services = services
        self._handshake = handshake
        self._rotation = rotation
        self._reuse = Reuse(services)
        self._first_contact = FirstContact(services)
        self._connectionless = Connectionless(services)

    async def owner(self, tenant: Tenant, recipient: Recipient, unpacked: Unpacked) -> Recipient:
        """Finds the connection that a message to `recipient` belongs to. A message to an invitation's key belongs to
        its sender's connection, if the sender answered before."""
        recipient = await self._first_contact.owner(tenant, recipient, unpacked)
        return await self._connectionless.owner(tenant, recipient, unpacked)

    async def effect(
        self, tenant: Tenant, recipient: Recipient, message: Message, sender: Sender, *, uuid: str, last: bool
    ) -> Reaction | None:
        """Decides the effect of the message: it names, begins, changes or ends the connection; None for none.

        Args:
            recipient: the result of `owner`.
            uuid: of the message.
            last: it is not put off any more.

        Raises:
            DidError: `unresolvable`: a document may become available later; not if this is the `last` try.
        """
        before = recipient
        if isinstance(sender, OtherSide):
            recipient = names.heard(recipient, sender.kid)
            if recipient.connection is not None and recipient is not before:
                sender = replace(sender, connection=recipient.connection)
        effect = await self._effect(tenant, recipient, message, sender, uuid, last)
        if effect is None and recipient.connection is not None and recipient is not before:
            effect = Effect(replace(recipient.connection, updated_at=self._services.now()), ordinary=True)
        if isinstance(effect, Effect):
            await names.follow(tenant, before.connection, effect)
        return effect

    async def _effect(
        self, tenant: Tenant, recipient: Recipient, message: Message, sender: Sender, uuid: str, last: bool
    ) -> Reaction | None:
        effect = (
            await self._first_contact.receive(tenant, recipient, message, sender)
            or await self._connectionless.receive(tenant, recipient, message, sender)
            or await self._handshake.receive(tenant, recipient, message, sender, uuid=uuid, last=last)
        )
        if effect is not None or not isinstance(sender, OtherSide):
            return effect
        if kind := did_rotate.kind_of(message):
            effect = self._connectionless.keeps_key(sender, message, kind)
            effect = effect or await self._rotation.receive(recipient, sender, message, kind)
        elif reuse := out_of_band.kind_of(message):
            effect = await self._reuse.receive(tenant, sender, message, reuse)
        return self._connectionless.heard(sender, effect)
