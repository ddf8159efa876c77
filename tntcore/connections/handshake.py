"""Runs DID exchanges: the decisions of `protocols.did_exchange`, with DIDs resolved, keys made and signatures checked.

Authentication: a request by a key of the document that it contains; a response by the signature of a key of the
invitation over the new DID or document, and by nothing else; later messages by the connection's documents.

Problem reports about refused messages (RFC 0023, "Errors") go to two kinds of sender. The sender of a request gets one
if its document has the key that it used: at the endpoint of that document, from the key of the invitation. The sender
of a response gets one if it used a key of the invitation, or of the document signed by that key: at the endpoint of the
invitation. Other senders learn nothing. If a request's document is unavailable, there is no endpoint for a report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tntcore.connections import names
from tntcore.connections.connection import in_place_of, pairwise, start
from tntcore.connections.documents import attached, checked, kept, legacy, object_in, resolvable
from tntcore.connections.effect import Effect, Notice, Reaction, Refusal, Refused
from tntcore.connections.sender import Anonymous, OtherSide, Sender
from tntcore.dids import sov
from tntcore.dids.document import DidDocument
from tntcore.dids.parse import parse_document
from tntcore.envelope.signatures import sign_attachment, sign_field, verify_attachment, verify_field
from tntcore.errors import UNRESOLVABLE, DidError, EnvelopeError
from tntcore.messaging.ids import delivery_uuid, random_uuid
from tntcore.messaging.message import Message
from tntcore.messaging.problems import is_problem_report, reason_given
from tntcore.messaging.texts import as_line
from tntcore.messaging.threads import action_uuid
from tntcore.protocols import did_exchange as rfc
from tntcore.protocols.did_exchange import CONNECTIONS_1_0, HandshakeStep
from tntcore.protocols.transition import OutOfTurn
from tntcore.services import Services
from tntcore.storage.lookups import Lookups
from tntcore.storage.records import Connection, Contact, Identity, Invitation, Sent, sent_id
from tntcore.storage.states import COMPLETED, ContactStatus, InvitationStatus
from tntcore.strict_json import write_json
from tntcore.tenancy.recipients import KeyPairs, Recipient, verkeys
from tntcore.tenancy.tenants import Tenant

_MAX_CONTACTS = 10  # that one sender becomes by one invitation


@dataclass(frozen=True, slots=True)
class Mine:
    """One of our DIDs, made for one connection."""

    did: str
    document: DidDocument
    keys: KeyPairs


class Handshake:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def receive(
        self,
        tenant: Tenant,
        recipient: Recipient,
        message: Message,
        sender: Sender,
        *,
        uuid: str,
        last: bool = False,
    ) -> Reaction | None:
        """Returns the effect of a message of a DID exchange; None if it belongs to none.

        Raises:
            DidError: `unresolvable`: a document may become available later; not if this is the `last` try.

        Args:
            uuid: of the message.
        """
        step = rfc.read_step(message)
        connection = recipient.connection
        if isinstance(sender, Anonymous):
            return Refusal("sender-unknown") if step is not None else None
        if connection is None and (declined := _declined(recipient, message, uuid)) is not None:
            return declined
        if step is None and isinstance(sender, OtherSide):
            waits = (sender.connection.role, sender.connection.state) == ("requester", "request-sent")
            about = sender.connection.thid in (message.thid, message.pthid)
            if waits and about and is_problem_report(message.type):
                return self._refused(sender.connection, message)
            return self._first_message(sender.connection)
        if step is None:
            return None
        try:
            if step.kind == "request":
                return await self._request(tenant, recipient, message, step, sender.kid)
            if connection is None or not await _is_on(tenant, connection, message, step, sender):
                return Refusal("thread-unknown")
            if _is_connections(step.prefix) != _is_connections(connection.protocol):
                return Refusal("protocol-mismatch")
            if step.kind == "response":
                return await self._response(recipient, connection, message, step, sender.kid, last=last)
            if not isinstance(sender, OtherSide):
                return Refusal("sender-not-connection")
            return self._end(connection, message, step)
        except Refused as refused:
            return Refusal(refused.code)
        except OutOfTurn:
            return Refusal("out-of-turn")
        except (DidError, EnvelopeError) as error:
            if error.code == UNRESOLVABLE and not last:
                raise
            return Refusal(error.code)

    def _first_message(self, connection: Connection) -> Effect | None:
        """Completes the connection: Connections 1.0 has no `complete`, so the requester's first message on the new
        connection counts as one.
        """
        if connection.protocol == CONNECTIONS_1_0 and (connection.role, connection.state) == (
            "responder",
            "response-sent",
        ):
            state = rfc.move("responder", "response-sent", "receive complete")
            changed = replace(connection, state=state, updated_at=self._services.now())
            return Effect(connection=changed, ordinary=True)
        return None

    def _end(self, connection: Connection, message: Message, step: HandshakeStep) -> Effect:
        """Returns the effect of `complete`, or of a problem report. Raises `OutOfTurn`."""
        if (connection.role, connection.state, step.kind) == ("requester", "request-sent", "problem-report"):
            return self._refused(connection, message)
        event: rfc.Event = "receive complete" if step.kind == "complete" else "receive problem-report"
        state = rfc.move(connection.role, connection.state, event, retry=rfc.may_retry(message))
        changed = replace(connection, state=state, updated_at=self._services.now())
        return Effect(connection=changed)

    def _refused(self, connection: Connection, message: Message) -> Effect:
        """Returns the effect of a report that refuses our request, whichever outcome its code asks for: the tenant
        decides whether and when to ask again.
        """
        state = rfc.move("requester", "request-sent", "receive problem-report")
        changed = replace(connection, state=state, error=reason_given(message), updated_at=self._services.now())
        return Effect(changed, rejects=True)

    # The responder.

    async def _request(
        self, tenant: Tenant, recipient: Recipient, message: Message, step: HandshakeStep, verkey: str
    ) -> Effect | Refusal:
        if recipient.connection is not None:
            raise OutOfTurn("a request on a connection")
        theirs = await self._their_document(message, step)
        if verkey not in verkeys(theirs):
            raise Refused("request-not-accepted", "the sender's key is not in the document that it brings")
        checked(theirs)
        try:
            return await self._received(tenant, recipient, message, step, verkey, theirs)
        except Refused as refused:
            # Why is not said: which invitations there are, and whose, is the tenant's business.
            report = self._report(step, message.thid, "request_not_accepted", "The invitation cannot be answered.")
            return Refusal(refused.code, report, stranger=kept(theirs))

    def _report(self, step: HandshakeStep, thid: str, code: str, explain: str) -> dict[str, Any]:
        message_id = random_uuid(self._services.random)
        return rfc.problem_report(step.prefix, message_id=message_id, thid=thid, code=code, explain=explain)

    async def _received(
        self,
        tenant: Tenant,
        recipient: Recipient,
        message: Message,
        step: HandshakeStep,
        verkey: str,
        theirs: DidDocument,
    ) -> Effect:
        """Returns the effect of a request. Raises `Refused`."""
        now = self._services.now()
        invitation = await self._answered_invitation(tenant, recipient, message)
        identity = await tenant.records.get(Identity, recipient.identity_uuid)
        if identity is None:
            raise Refused("identity-gone", "the identity of the invitation was deleted")
        asker = Contact(
            uuid=delivery_uuid(invitation.uuid if invitation else identity.uuid, f"contact/{theirs.id}/{verkey}"),
            status=ContactStatus.REQUESTED,
            display_name=_label(message),
            created_at=now,
            updated_at=now,
        )
        contact, former = await _contact_of(tenant, identity, invitation, asker)
        connection = start(identity, contact, now, invitation.did_method if invitation is not None else None)
        # A request that is sent again takes the place of the exchange that came to nothing.
        in_place_of(former, connection)
        connection.role = "responder"
        connection.state = rfc.move("responder", "invitation-sent", "receive request")
        connection.protocol = step.prefix
        connection.thid, connection.pthid = message.thid, message.pthid or ""
        connection.invitation_uuid = invitation.uuid if invitation else ""
        connection.of_identity = recipient.invitation is None
        connection.contact_did, connection.their_document = "", kept(theirs)
        names.prove(connection, verkey)
        effect = Effect(connection)
        if not contact.etag:
            effect.contact = contact
            contact.did, contact.claimed_did = connection.contact_did, connection.claimed_did
            contact.named = bool(contact.did)
        effect.reopens = bool(contact.etag) and contact.status != ContactStatus.REQUESTED
        if invitation is not None and not invitation.multi_use:
            effect.invitation = replace(invitation, status=InvitationStatus.USED, updated_at=now)
        if await tenant.auto_accept():
            self.respond(tenant, connection, recipient, effect)
        return effect

    async def _answered_invitation(self, tenant: Tenant, recipient: Recipient, message: Message) -> Invitation | None:
        """Returns the invitation that a request answers; None if it answers none, but came to an identity's public DID.
        Raises `Refused`.
        """
        invitation = recipient.invitation
        if invitation is None and message.pthid and not message.pthid.startswith("did:"):
            # To an identity's own key, because an invitation named its public DID.
            invitation = await find_invitation(self._services.lookups, tenant, message.pthid)
            if invitation is None or invitation.identity_uuid != recipient.identity_uuid:
                raise Refused("invitation-unknown", "the request names no invitation of this identity")
        if invitation is None:
            return None
        if not is_good(invitation, self._services.now()):
            raise Refused("invitation-not-valid", "the invitation was used or has expired")
        if message.pthid not in (None, invitation.invitation_id):
            raise Refused("invitation-unknown", "the request names another invitation than its key belongs to")
        if invitation.threads:
            raise Refused("handshake-not-offered", "the invitation is answered without a handshake")
        return invitation

    def respond(self, tenant: Tenant, connection: Connection, inviter: Recipient, effect: Effect) -> None:
        """Accepts a request: moves `connection` on, and adds the response and our new keys to `effect`.

        Args:
            inviter: the invitation or identity that the request was for, whose key signs.
        """
        connection.state = rfc.move("responder", connection.state, "send response")
        mine = self._mine(connection)
        self._adopt(tenant, connection, mine, effect)
        signer = inviter.signer
        now = self._services.now()
        attached: dict[str, Any]
        if _is_connections(connection.protocol):
            document = {"DID": mine.did, "DIDDoc": mine.document.raw}
            attached = {"connection~sig": sign_field(document, signer, now // 1000)}
        elif mine.did.startswith("did:"):
            attached = {
                "did_rotate~attach": sign_attachment(
                    mine.did.encode(), signer, mime_type="text/string", id=random_uuid(self._services.random)
                )
            }
        else:
            attached = {"did_doc~attach": self._attach_document(mine, signer)}
        effect.replies.append(
            rfc.response(
                connection.protocol,
                message_id=random_uuid(self._services.random),
                thid=connection.thid,
                pthid=connection.pthid,
                did=mine.did,
                attached=attached,
            )
        )

    # The requester.

    def request(self, tenant: Tenant, connection: Connection, label: str, effect: Effect) -> None:
        """Sends the request of a connection in state `invitation-received`, whose `their_document` is the invitation's
        service. A repeated request is a new message with the same DID.
        """
        connection.state = rfc.move("requester", connection.state, "send request")
        if connection.keys:
            keys = KeyPairs.deserialise(tenant.records.open(connection.keys, connection.key))
            mine = Mine(connection.my_did, parse_document(connection.my_document), keys)
        else:
            mine = self._mine(connection)
            self._adopt(tenant, connection, mine, effect)
        if _is_connections(connection.protocol):
            attached: dict[str, Any] = {"connection": {"DID": mine.did, "DIDDoc": mine.document.raw}}
        elif mine.did.startswith("did:"):
            attached = {}
        else:
            attached = {"did_doc~attach": self._attach_document(mine, mine.keys.ed25519)}
        connection.thid = random_uuid(self._services.random)
        effect.replies.append(
            rfc.request(
                connection.protocol,
                message_id=connection.thid,
                pthid=connection.pthid,
                label=label,
                did=mine.did,
                attached=attached,
            )
        )

    async def _response(
        self,
        recipient: Recipient,
        connection: Connection,
        message: Message,
        step: HandshakeStep,
        verkey: str,
        *,
        last: bool,
    ) -> Effect | Refusal:
        """Returns the effect of a response. If it is refused, the request stays sent, and another response may come. A
        response to an abandoned request is refused as well: abandoning tells the other side nothing (RFC 0023,
        "Errors").
        """
        withdrawn = (connection.role, connection.state) == ("requester", "abandoned")
        state = rfc.move(connection.role, "request-sent" if withdrawn else connection.state, "receive response")
        # While the request is on its way, all that is known of the other side is the invitation.
        inviters = recipient.their_verkeys
        known = verkey in inviters
        try:
            theirs = await self._answered_document(message, step, inviters, verkey)
            known = known or verkey in verkeys(theirs)
            _require_usable(theirs, known=known, withdrawn=withdrawn)
        except (Refused, DidError, EnvelopeError) as error:
            unresolvable = error.code == UNRESOLVABLE
            if not known or (unresolvable and not last):
                raise
            code = "response_processing_error" if unresolvable else "response_not_accepted"
            report = self._report(step, message.thid, code, "The response cannot be used.")
            return Refusal(error.code, report)
        changed = replace(connection, state=state, updated_at=self._services.now())
        changed.their_document = kept(theirs)
        # A key of the invitation has signed the response, and so proven the DID that the invitation named.
        changed.contact_did = changed.contact_did or changed.invited_did
        if verkey in verkeys(theirs):
            names.prove(changed, verkey)
        else:
            names.claim(changed, theirs.id)
        effect = Effect(changed)
        message_id = random_uuid(self._services.random)
        if step.protocol == CONNECTIONS_1_0:
            effect.replies.append(
                {
                    "@type": f"{connection.protocol.partition('connections/')[0]}trust_ping/1.0/ping",
                    "@id": message_id,
                    "~thread": {"thid": message_id, "pthid": connection.thid},
                    "response_requested": False,
                }
            )
        else:
            effect.replies.append(
                rfc.complete(connection.protocol, message_id=message_id, thid=connection.thid, pthid=connection.pthid)
            )
        changed.state = rfc.move("requester", changed.state, "send complete")
        return effect

    # Documents.

    async def _their_document(self, message: Message, step: HandshakeStep) -> DidDocument:
        """Returns the requester's document, not `checked`. Raises `DidError`, `EnvelopeError` or `Refused`."""
        if step.protocol == CONNECTIONS_1_0:
            return legacy(message.fields.get("connection"))
        did = message.fields.get("did")
        if not isinstance(did, str):
            raise Refused("request-not-accepted", "the request has no did")
        if self._is_resolved(did, message):
            return await self._services.resolver.resolve(did)
        verified = verify_attachment(object_in(message.fields.get("did_doc~attach")))
        document = attached(verified.payload, did)
        if not set(verified.signers) & verkeys(document):
            raise Refused("request-not-accepted", "the attached document is signed by a key that is not in it")
        return document

    async def _answered_document(
        self, message: Message, step: HandshakeStep, inviters: frozenset[str], verkey: str
    ) -> DidDocument:
        """Returns the responder's document, authenticated by a key of the invitation. Raises the errors of
        `_their_document`.
        """
        if step.protocol == CONNECTIONS_1_0:
            value, signer, _ = verify_field(object_in(message.fields.get("connection~sig")))
            _require(inviters, (signer,))
            return legacy(value)
        did = message.fields.get("did")
        if not isinstance(did, str):
            raise Refused("response-not-accepted", "the response has no did")
        rotate = message.fields.get("did_rotate~attach")
        if rotate is not None:
            verified = verify_attachment(object_in(rotate))
            _require(inviters, verified.signers)
            if verified.payload.decode("utf-8", "replace") != did:
                raise Refused("response-not-accepted", "another DID is signed than the one that is given")
        if not self._is_resolved(did, message):
            verified = verify_attachment(object_in(message.fields.get("did_doc~attach")))
            _require(inviters, verified.signers)
            return attached(verified.payload, did)
        if rotate is None:
            # Without a signature, the envelope itself must be by the invitation's key.
            _require(inviters, (verkey,))
        return await self._services.resolver.resolve(did)

    def _is_resolved(self, did: str, message: Message) -> bool:
        """Whether the DID's document is looked up. A did:sov may come with its document instead."""
        if did.startswith("did:sov:") and "did_doc~attach" in message.fields:
            return False
        return resolvable(did) or self._services.resolver.fetches(did)

    def _mine(self, connection: Connection) -> Mine:
        """Makes a new DID by the method that the tenant chose, or else in the form that the dialect's agents read. In
        Connections 1.0 there is no choice.
        """
        keys = KeyPairs.generate()
        endpoint = self._services.config.endpoint
        latest = connection.protocol.endswith("didexchange/1.1")
        method = connection.did_method or ("did:peer:4" if latest else "did:sov")
        if method != "did:sov" and not _is_connections(connection.protocol):
            document = pairwise(self._services, keys, method)
            return Mine(document.id, document, keys)
        did = sov.create(keys.verkey)
        return Mine(did, parse_document(sov.legacy_document(did, keys.verkey, endpoint)), keys)

    def _adopt(self, tenant: Tenant, connection: Connection, mine: Mine, effect: Effect) -> None:
        connection.my_did = mine.did
        connection.my_document = dict(mine.document.raw)
        connection.keys = tenant.records.seal(mine.keys.serialise(), connection.key)
        effect.keys = tuple(mine.keys.by_kid(mine.document))

    def _attach_document(self, mine: Mine, signer: Any) -> dict[str, Any]:
        return sign_attachment(
            write_json(mine.document.raw),
            signer,
            mime_type="application/json",
            id=random_uuid(self._services.random),
        )


def _require(inviters: frozenset[str], signers: Sequence[str]) -> None:
    if not inviters & set(signers):
        raise Refused("response-not-accepted", "it is not signed by a key of the invitation")


def _require_usable(theirs: DidDocument, *, known: bool, withdrawn: bool) -> None:
    if not known:
        raise Refused("response-not-accepted", "the sender's key is not in the new document")
    if withdrawn:
        raise Refused("connection-abandoned", "the request was withdrawn")
    checked(theirs)


def _label(message: Message) -> str:
    label = message.fields.get("label")
    return as_line(label, 200) if isinstance(label, str) else ""


def _is_connections(protocol: str) -> bool:
    return "/connections/" in protocol or ";spec/connections/" in protocol


def _declined(recipient: Recipient, message: Message, uuid: str) -> Notice | None:
    """Returns a notice of a problem report on an invitation, of any protocol, for the tenant; None for any other
    message.

    RFC 0023 has two outcomes, start and abandoned. Here it is start: anyone who knows the invitation can send the
    report, so the invitation stays valid, and the tenant may revoke it.
    """
    invitation = recipient.invitation
    if invitation is None or not is_problem_report(message.type):
        return None
    if invitation.invitation_id not in (message.thid, message.pthid):
        return None
    task = {
        "type": "invitation",
        "uuid": invitation.uuid,
        "status": "problem-reported",
        "messageUuid": uuid,
        "contactUuid": invitation.contact_uuid or None,
        "identityUuid": invitation.identity_uuid,
    }
    return Notice(task)


async def _is_on(tenant: Tenant, connection: Connection, message: Message, step: HandshakeStep, sender: Sender) -> bool:
    """Whether the message belongs to the connection's exchange. Agents send a report on the thread of the message that
    it is about, or under the exchange's.
    """
    if message.thid == connection.thid:
        return True
    if step.kind != "problem-report" or not isinstance(sender, OtherSide):
        return False
    if message.pthid == connection.thid:
        return True
    thread = action_uuid(connection.uuid, connection.thid)
    for name in (message.thid, message.pthid):
        sent = await tenant.records.get(Sent, sent_id(connection.uuid, name)) if name else None
        if sent is not None and sent.action_uuid == thread:
            return True
    return False


async def _contact_of(
    tenant: Tenant, identity: Identity, invitation: Invitation | None, asker: Contact
) -> tuple[Contact, Connection | None]:
    """Returns the contact that a request comes from, and its unfinished connection. It is the contact that was
    invited, or `asker`. Raises `Refused`.
    """
    contact_uuid = invitation.contact_uuid if invitation else ""
    invited = await tenant.records.get(Contact, contact_uuid) if contact_uuid else None
    if invited is None:
        asker.uuid, former = await _unfinished(tenant, identity, asker.uuid)
        return await tenant.records.get(Contact, asker.uuid) or asker, former
    former = await tenant.records.get(Connection, Connection.uuid_of(identity.uuid, invited.uuid))
    # Made with the contact, before it was invited; its messages are held.
    if former is not None and former.state != "start":
        raise Refused("contact-connected", "the contact of the invitation is connected already")
    return invited, former


async def _unfinished(tenant: Tenant, identity: Identity, uuid: str) -> tuple[str, Connection | None]:
    """Returns the contact (uuid) for a sender, and its exchange: the first, beginning with `uuid`, whose exchange is
    not completed. Raises `Refused`.
    """
    for _ in range(_MAX_CONTACTS):
        former = await tenant.records.get(Connection, Connection.uuid_of(identity.uuid, uuid))
        if former is None or former.state != COMPLETED:
            return uuid, former
        uuid = delivery_uuid(uuid, "contact")
    raise Refused("contact-connected", f"the sender is connected {_MAX_CONTACTS} times already")


def is_good(invitation: Invitation, now: int) -> bool:
    """Whether the invitation can still be answered."""
    return invitation.status_at(now) == InvitationStatus.ACTIVE


async def find_invitation(lookups: Lookups, tenant: Tenant, invitation_id: str) -> Invitation | None:
    """Returns the tenant's invitation with that `@id`. A stranger's guess costs one read."""
    found = await lookups.find("invitation-id", invitation_id) if invitation_id else None
    if found is None or found.principal != tenant.uuid:
        return None
    return await tenant.records.get(Invitation, found.uuid)
