"""A tenant's decisions on connections: to accept or reject a waiting request, or to abandon its own."""

from __future__ import annotations

from dataclasses import replace

from tntcore.connections.acceptance import Acceptance, kept_invitation
from tntcore.connections.changes import Changes
from tntcore.connections.effect import Effect
from tntcore.connections.first_contact import FirstContact
from tntcore.connections.handshake import Handshake
from tntcore.connections.invitations import read_content
from tntcore.errors import Problem
from tntcore.messaging.ids import random_uuid
from tntcore.messaging.invitations import read_invitation
from tntcore.protocols import did_exchange as rfc23
from tntcore.protocols.transition import OutOfTurn
from tntcore.services import Services
from tntcore.storage.records import Connection, Contact, Identity, Invitation
from tntcore.tenancy.recipients import KeyPairs
from tntcore.tenancy.tenants import Tenant


class Decisions:
    def __init__(self, services: Services, changes: Changes, handshake: Handshake, acceptance: Acceptance) -> None:
        self._services = services
        self._changes = changes
        self._handshake = handshake
        self._acceptance = acceptance
        self._first_contact = FirstContact(services)

    async def decide(self, tenant: Tenant, connection: Connection, *, accept: bool) -> Connection:
        """Applies a tenant's decision on a connection that waits for it, or abandons one that is not completed.

        A rejected request is over here: `abandoned`, and its contact REJECTED. The other side gets
        `request_not_accepted`, RFC 0023's code ("Errors") for an active rejection and the only one that agents
        understand; it allows another request. A new request of the same sender, by a reusable invitation or a public
        DID, waits for a new decision, as the same contact; by a single-use invitation, which is used up, it is refused.
        A request of our own is abandoned silently: a late response to it is refused.

        Raises:
            Problem: 409 if there is nothing to decide, or the connection was changed meanwhile.
        """
        if accept and connection.received and connection.state == "invitation-received":
            return await self._accept_kept(tenant, connection)
        changed = replace(connection, updated_at=self._services.now())
        effect = Effect(changed)
        try:
            if not accept:
                await self._reject(tenant, changed, effect)
            elif _is_unasked(changed):
                changed.state, changed.role, changed.error, effect.reopens = "start", "", "", True
                await self._acceptance.try_later(tenant, changed.uuid)
            elif changed.version == "v2":
                self._first_contact.admit(changed, effect)
            elif changed.role == "responder":
                asked = await self._asked(tenant, changed)
                inviter = await self._services.tenants.open_recipient(tenant, asked) if asked is not None else None
                if inviter is None:
                    raise Problem(409, "invitation-gone", "The invitation was deleted. Ask the partner for a new one.")
                self._handshake.respond(tenant, changed, inviter, effect)
            else:
                identity = await tenant.records.get(Identity, changed.identity_uuid)
                if changed.state == "abandoned" and changed.error:
                    # It was refused, and is asked again.
                    changed.state, changed.error, effect.reopens = "invitation-received", "", True
                self._handshake.request(tenant, changed, identity.display_name if identity else "", effect)
        except OutOfTurn:
            raise Problem(
                409,
                "nothing-to-decide",
                f"The connection is in state '{connection.state}' (role "
                f"{connection.role}) and can no longer be accepted or rejected.",
            ) from None
        await self._changes.apply(tenant, effect)
        return changed

    async def _accept_kept(self, tenant: Tenant, waiting: Connection) -> Connection:
        """Answers the invitation that a connection keeps. Raises `Problem` 400 or 409."""
        identity = await tenant.records.get(Identity, waiting.identity_uuid)
        contact = await tenant.records.get(Contact, waiting.contact_uuid)
        content = read_invitation(kept_invitation(tenant, waiting))
        if identity is None or contact is None:
            raise Problem(
                409,
                "nothing-to-decide",
                "The contact or the identity of the connection was deleted. Accept the invitation with "
                "POST /api/contact.",
            )
        contact.updated_at = self._services.now()
        return await self._acceptance.accept(
            tenant, identity, contact, content, did_method=waiting.did_method, waiting=waiting
        )

    async def _reject(self, tenant: Tenant, changed: Connection, effect: Effect) -> None:
        if changed.state in ("completed", "abandoned", "start"):
            raise OutOfTurn(f"rejecting in state {changed.state}")
        effect.rejects = True
        if changed.version == "v2":
            self._first_contact.turn_away(changed, effect)
        elif (changed.role, changed.state) == ("responder", "request-received"):
            changed.state = rfc23.move("responder", "request-received", "send problem-report")
            inviter = await self._asked(tenant, changed)
            if inviter is not None and not changed.keys:
                # This connection has no keys yet: the key that the request was encrypted for signs.
                keys = KeyPairs.deserialise(tenant.records.open(inviter.keys, inviter.key))
                changed.keys = tenant.records.seal(keys.serialise(), changed.key)
                own = inviter.own if isinstance(inviter, Identity) else inviter.did
                changed.my_did, changed.my_document = own, inviter.document
            if changed.keys:
                effect.replies.append(
                    rfc23.problem_report(
                        changed.protocol,
                        message_id=random_uuid(self._services.random),
                        thid=changed.thid,
                        code="request_not_accepted",
                        explain="The request was rejected.",
                    )
                )
        else:
            # A request of ours is withdrawn, and an invitation declined, by not answering (RFC 0023, "Errors").
            changed.state, changed.received = "abandoned", b""

    async def _asked(self, tenant: Tenant, connection: Connection) -> Invitation | Identity | None:
        """Returns the record whose key a request was for, and which signs for us: the invitation, or the identity whose
        public DID the invitation may name (RFC 0023, "Response"). None if it is gone.
        """
        if connection.invitation_uuid and not connection.of_identity:
            invitation = await tenant.records.get(Invitation, connection.invitation_uuid)
            # Records of an older version do not say whose key was asked. An invitation by a public DID had only that.
            before = connection.of_identity is None and invitation is not None
            services = read_content(tenant.records, invitation).get("services") if before and invitation else None
            if not (isinstance(services, list) and all(isinstance(service, str) for service in services)):
                return invitation
        return await tenant.records.get(Identity, connection.identity_uuid)


def _is_unasked(connection: Connection) -> bool:
    """Whether the contact's DID, which the tenant gave, was never resolved."""
    never = connection.state == "start" or (connection.state == "abandoned" and bool(connection.error))
    return never and bool(connection.contact_did) and not connection.their_document and not connection.invitation_uuid
