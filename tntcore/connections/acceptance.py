"""Connections that our tenants begin: by answering an invitation, or by a DID that can be resolved."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tntcore.connections import names
from tntcore.connections.changes import Changes
from tntcore.connections.connection import in_place_of, start
from tntcore.connections.connectionless import Connectionless, inline_document
from tntcore.connections.documents import MAX_DOCUMENT
from tntcore.connections.effect import Effect
from tntcore.connections.first_contact import FORM as FORM_2
from tntcore.connections.first_contact import FirstContact
from tntcore.connections.handshake import Handshake
from tntcore.connections.invitations import FORM_1
from tntcore.connections.reuse import attached, read_reuse, write_reuse
from tntcore.delivery.outbox import begin_item, reuse_item
from tntcore.dids.document import DidService
from tntcore.dids.endpoint import didcomm_endpoint, versions_of
from tntcore.errors import UNRESOLVABLE, DidError, NotYet, Problem
from tntcore.messaging.ids import random_uuid
from tntcore.messaging.invitations import InvitationMessage
from tntcore.messaging.texts import as_line
from tntcore.protocols import did_exchange as rfc23
from tntcore.protocols import out_of_band as rfc434_messages
from tntcore.protocols.did_exchange import CONNECTIONS_1_0, DID_EXCHANGE_1_1, SUPPORTED
from tntcore.services import Services
from tntcore.storage import queries
from tntcore.storage.commit import Unit
from tntcore.storage.items import queue_message
from tntcore.storage.records import Connection, Contact, Identity, PendingReuse, sent_id
from tntcore.storage.storage import INBOUND
from tntcore.strict_json import reread_json, write_json
from tntcore.tenancy.recipients import document_id
from tntcore.tenancy.tenants import Tenant

log = logging.getLogger(__name__)

_BEGIN_AGAIN = 5  # seconds
_MAX_REASON = 1_000  # characters
_MAX_KEPT = 60_000  # sealed bytes of an invitation that is kept; a column holds 64 KiB
REUSE_SECONDS = 20  # until a partner that does not agree to use a connection is asked for another
_MAX_REUSE = 50_000  # bytes of an invitation that are kept until then


class Acceptance:
    def __init__(self, services: Services, changes: Changes, handshake: Handshake) -> None:
        self._services = services
        self._changes = changes
        self._handshake = handshake
        self._first_contact = FirstContact(services)
        self._connectionless = Connectionless(services)

    async def accept(
        self,
        tenant: Tenant,
        identity: Identity,
        contact: Contact,
        content: InvitationMessage,
        *,
        did_method: str | None = None,
        ends: PendingReuse | None = None,
        waiting: Connection | None = None,
    ) -> Connection:
        """Answers an invitation of anyone. Returns a connection in state `request-sent`, or completed if no handshake
        is wanted. Raises `Problem` 400.

        Args:
            did_method: `DidMethod` of our DID, if the tenant chose one.
            ends: the `PendingReuse` of the invitation, if another connection was to be reused for it.
            waiting: the connection, if it is there already; then the contact is, too.
        """
        now = self._services.now()
        _check_expiry(content, now)
        if _is_for_v2(content):
            _check_method(did_method, "v2")
            content = content if content.form == FORM_2 else await self._as_v2(content)
            connection = in_place_of(waiting, start(identity, contact, now, did_method))
            effect = await self._first_contact.accept(tenant, connection, contact, content)
            return await self._begin_at_once(tenant, contact, content, connection, effect, ends)
        if content.form == FORM_1 and not content.handshake_protocols:
            connection = in_place_of(waiting, start(identity, contact, now, did_method))
            theirs = await self._provisional(content.services)
            effect = self._connectionless.accept(tenant, connection, contact, content, theirs)
            return await self._begin_at_once(tenant, contact, content, connection, effect, ends)
        offered = (CONNECTIONS_1_0,) if content.form == "connections/1" else content.handshake_protocols
        protocol = next((name for name in map(rfc23.nearest, offered) if name is not None), None)
        if protocol is None:
            raise Problem(
                400,
                "invitation-unsupported",
                f"The invitation offers no supported handshake protocol. It must offer one of {', '.join(SUPPORTED)}.",
            )
        _check_method(did_method, protocol)
        connection = self._invited(identity, contact, protocol, content.id, await self._provisional(content.services))
        connection.did_method = did_method
        in_place_of(waiting, connection)
        contact.claimed_did = contact.claimed_did or connection.claimed_did
        # The DID that was reached, and no other that the invitation names.
        reached = document_id(connection.their_document)
        connection.invited_did = reached if reached in content.services else ""
        return await self._begin(tenant, identity, contact, connection, content, ends)

    def keep(
        self,
        tenant: Tenant,
        identity: Identity,
        contact: Contact,
        content: InvitationMessage,
        did_method: str | None = None,
    ) -> Connection:
        """Returns a connection, not stored yet, that keeps an invitation until the tenant answers it: before that
        nothing is looked up or sent.

        Raises:
            Problem: 400 `invitation-expired`, 413 `invitation-too-large`.
        """
        now = self._services.now()
        _check_expiry(content, now)
        connection = start(identity, contact, now, did_method)
        connection.role, connection.state = "requester", rfc23.move("requester", "start", "invitation")
        connection.pthid = content.id
        connection.received = tenant.records.seal(write_json(content.raw), _kept_in(connection))
        if len(connection.received) > _MAX_KEPT:
            detail = f"The invitation is too large to be kept: it may have {_MAX_KEPT // 1000} kB. Accept it at once."
            raise Problem(413, "invitation-too-large", detail)
        return connection

    async def reuse(
        self,
        tenant: Tenant,
        identity: Identity,
        contact: Contact,
        content: InvitationMessage,
        random: Callable[[int], bytes],
        did_method: str | None = None,
    ) -> Connection | None:
        """Asks an inviter with whose DID there is a connection to reuse that (see `reuse`). Returns None if there is
        none. Raises `Problem` 409.

        Args:
            contact: the contact for the inviter; created only if the other side does not agree.
            random: for the message's id.
            did_method: see `accept`; for the new connection.
        """
        did = _public_did(content)
        if not did:
            return None
        services, now = self._services, self._services.now()
        hits = await tenant.records.list(
            Connection,
            limit=10,
            where=queries.reusable_connections(did, identity.uuid),
        )
        if not hits.records:
            return None
        connection = max(hits.records, key=lambda one: one.created_at)
        tenant = tenant.at(connection)
        effect = Effect(replace(connection, updated_at=now))
        message_id = random_uuid(random)
        waiting = PendingReuse(
            uuid=sent_id(connection.uuid, message_id),
            identity_uuid=identity.uuid,
            contact_uuid=contact.uuid,
            created_at=now,
        )
        if await tenant.records.get(PendingReuse, waiting.uuid) is not None:
            return connection  # an earlier attempt of the same call has asked
        write_reuse(tenant, waiting, content, contact, did_method)
        if len(waiting.content) > _MAX_REUSE:
            return None
        effect.makes.append(waiting)
        effect.replies.append(rfc434_messages.reuse(message_id=message_id, pthid=content.id))
        item = reuse_item(tenant.uuid, connection.uuid, waiting.uuid, services.uuid7())
        await services.storage.queues[INBOUND].put(queue_message([item]), delay=REUSE_SECONDS)
        await self._changes.apply(tenant, effect)
        return connection

    async def begin_anyway(self, tenant: Tenant, uuid: str) -> None:
        """Begins a new connection by an invitation if the other side has not agreed to reuse the existing one. `uuid`:
        of the `PendingReuse`.
        """
        waiting = await tenant.records.get(PendingReuse, uuid)
        identity = await tenant.records.get(Identity, waiting.identity_uuid) if waiting is not None else None
        if waiting is None or identity is None:
            return
        content, contact, did_method = read_reuse(tenant, waiting)
        contact.updated_at = self._services.now()
        contact.display_name = contact.display_name or as_line(content.label or "", 200)
        try:
            await self.accept(tenant, identity, contact, content, did_method=did_method, ends=waiting)
        except Problem as problem:
            if problem.status != 400:
                raise
            log.info("an invitation cannot be answered without the connection that it was for: %s", problem.code)
            unit = Unit()
            unit.delete(waiting.key, waiting.etag)
            await tenant.records.commit(unit)

    async def try_later(self, tenant: Tenant, connection_uuid: str) -> None:
        """Makes a connection in state `start` begin by its contact's DID, as soon as that can be resolved
        (`begin_again`). Called before the commit of the connection.
        """
        item = begin_item(tenant.uuid, connection_uuid, self._services.uuid7())
        await self._services.storage.queues[INBOUND].put(queue_message([item]), delay=_BEGIN_AGAIN)

    async def begin_again(self, tenant: Tenant, connection_uuid: str, *, last: bool) -> None:
        """Begins a connection whose contact's DID could not be resolved before. If it never can be, the connection is
        `abandoned`, with the reason, and its contact REJECTED; `accept` tries again.

        Args:
            last: it is not tried any more.

        Raises:
            NotYet: try again later.
        """
        waiting = await tenant.records.get(Connection, connection_uuid)
        if waiting is None and not last:
            raise NotYet("the connection is not there yet")
        if waiting is None or waiting.state != "start":
            return
        identity = await tenant.records.get(Identity, waiting.identity_uuid)
        contact = await tenant.records.get(Contact, waiting.contact_uuid)
        if identity is None or contact is None:
            return
        try:
            await self.accept_implicit(tenant, identity, contact, waiting.did_method, waiting=waiting)
        except DidError as error:
            if error.code == UNRESOLVABLE and not last:
                raise NotYet(f"the DID of a contact: {error.code}") from None
            reason = str(error)
        except Problem as problem:
            if problem.status != 400:
                raise NotYet(f"beginning a connection: {problem.code}") from None
            reason = f"{problem.code}: {problem.detail}"
        else:
            return
        over = replace(waiting, role="requester", state="abandoned", error=reason[:_MAX_REASON])
        over.invited_did, over.updated_at = contact.did, self._services.now()
        await self._changes.apply(tenant, Effect(over, rejects=True), tells=True)

    async def accept_implicit(
        self,
        tenant: Tenant,
        identity: Identity,
        contact: Contact,
        did_method: str | None = None,
        *,
        waiting: Connection | None = None,
    ) -> Connection:
        """Begins a DID exchange with a DID that can be resolved (RFC 0023, "Implicit Invitation"); if it supports only
        DIDComm v2, writes to it at once.

        Args:
            waiting: the connection, if it is there already, in state `start`.

        Raises:
            Problem: 400 `did-method-invalid`.
            DidError: it cannot be resolved, or has no endpoint.
        """
        document = await self._services.resolver.resolve(contact.did)
        try:
            didcomm_endpoint(document, "v1")
        except DidError:
            _check_method(did_method, "v2")
            connection = in_place_of(waiting, start(identity, contact, self._services.now(), did_method))
            await self._changes.apply(tenant, await self._first_contact.reach(tenant, connection, contact), tells=True)
            return connection
        connection = self._invited(
            identity, contact, DID_EXCHANGE_1_1, document.services[0].id, {**document.raw, "id": document.id}
        )
        connection.invited_did, connection.did_method = contact.did, did_method
        in_place_of(waiting, connection)
        return await self._begin(tenant, identity, contact, connection)

    def _invited(
        self, identity: Identity, contact: Contact, protocol: str, pthid: str, document: Mapping[str, Any]
    ) -> Connection:
        connection = start(identity, contact, self._services.now())
        connection.role = "requester"
        connection.state = rfc23.move("requester", "start", "invitation")
        connection.protocol, connection.pthid = protocol, pthid
        connection.their_document = dict(document)
        names.claim(connection, str(document["id"]))
        return connection

    async def _begin(
        self,
        tenant: Tenant,
        identity: Identity,
        contact: Contact,
        connection: Connection,
        content: InvitationMessage | None = None,
        ends: PendingReuse | None = None,
    ) -> Connection:
        effect = Effect(connection, contact=contact)
        _claims(effect, contact)
        self._handshake.request(tenant, connection, identity.display_name, effect)
        effect.ends = ends
        if content is not None:
            effect.attached = attached(self._services, tenant, connection, content)
        await self._changes.apply(tenant, effect)
        return connection

    async def _begin_at_once(
        self,
        tenant: Tenant,
        contact: Contact,
        content: InvitationMessage,
        connection: Connection,
        effect: Effect,
        ends: PendingReuse | None,
    ) -> Connection:
        """Begins a connection that needs no handshake."""
        contact.claimed_did = contact.claimed_did or connection.claimed_did
        effect.attached, effect.ends = attached(self._services, tenant, connection, content), ends
        _claims(effect, contact)
        await self._changes.apply(tenant, effect, tells=True)
        return connection

    async def _as_v2(self, content: InvitationMessage) -> InvitationMessage:
        """Converts an invitation of v1's form that accepts only v2 into one by its first DID that supports v2. Raises
        `Problem` 400.
        """
        for service in content.services:
            try:
                if isinstance(service, str):
                    didcomm_endpoint(await self._services.resolver.resolve(service), "v2")
                    return replace(content, from_did=service)
            except DidError:
                continue
        raise Problem(
            400,
            "invitation-unsupported",
            "The invitation accepts DIDComm v2 alone, but names no DID that can be written to by it. Ask the partner "
            "for an out-of-band/2.0 invitation.",
        )

    async def _provisional(self, services: tuple[str | DidService, ...]) -> dict[str, Any]:
        """Returns a document with the keys and the endpoint in the invitation: all that is known of an inviter before
        its response.
        """
        reasons = []
        for service in services:
            try:
                if isinstance(service, str):
                    document = await self._services.resolver.resolve(service)
                    didcomm_endpoint(document, "v1")
                    known = {**document.raw, "id": document.id}
                else:
                    known = inline_document(service)
            except DidError as error:
                reasons.append(error.detail)
                continue
            if len(write_json(known)) <= MAX_DOCUMENT:
                return known
        raise Problem(
            400,
            "invitation-unreachable",
            f"No service of the invitation can be used: {'; '.join(reasons)}. Ask the partner for another invitation.",
        )


def kept_invitation(tenant: Tenant, connection: Connection) -> dict[str, Any]:
    """Returns the invitation that a connection keeps until the tenant answers it."""
    content: dict[str, Any] = reread_json(tenant.records.open(connection.received, _kept_in(connection)))
    return content


def _kept_in(connection: Connection) -> str:
    return f"{connection.key}/invitation"


def _check_expiry(content: InvitationMessage, now: int) -> None:
    if content.expires_at and content.expires_at * 1000 < now:
        raise Problem(400, "invitation-expired", "The invitation has expired. Ask the partner for a new one.")


def _claims(effect: Effect, contact: Contact) -> None:
    """Lets the effect write what the invitation claims to an existing contact, instead of creating that."""
    if contact.etag:
        effect.contact, effect.names = None, {"claimedDid": contact.claimed_did or ""}


def _check_method(did_method: str | None, protocol: str) -> None:
    """Raises `Problem` 400 if the tenant chose a method that the partner's protocol has no place for. `protocol`: "v2"
    for DIDComm v2.
    """
    if (protocol == "v2" and did_method == "did:sov") or (
        protocol == CONNECTIONS_1_0 and did_method in ("did:peer:2", "did:peer:4")
    ):
        name = "DIDComm v2" if protocol == "v2" else "Connections 1.0"
        raise Problem(
            400,
            "did-method-invalid",
            f"The partner speaks {name}, which does not go with didMethod {did_method}. Leave it out.",
        )


def _is_for_v2(content: InvitationMessage) -> bool:
    return content.form == FORM_2 or versions_of(content.accept) == {"v2"}


def _public_did(content: InvitationMessage) -> str:
    """Returns the DID that an invitation names first, if it leads to more than the invitation itself. Never that of an
    out-of-band/2 invitation: only DIDComm v1 reuses connections.
    """
    if _is_for_v2(content):
        return ""
    first = content.services[0]
    return first if isinstance(first, str) and not first.startswith("did:sov:") else ""
