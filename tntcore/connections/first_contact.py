"""DIDComm v2 without a DID exchange: an invitation contains a DID (out-of-band/2.0), and whoever writes to it becomes a
contact (DIDComm Messaging 2.1, "Out Of Band Messages" and "DID Rotation").

Authentication: a first message proves its sender's DID by its envelope, and names its invitation by `pthid`. Later
messages are authenticated by the connection's documents, and a new DID of the other side by the signature of the old
one, `from_prior`.

A message to an identity's public DID needs no invitation: its sender, with a DID that can receive messages, becomes a
contact as by a request of DID exchange, at once or when the tenant accepts. But only a message that begins a thread and
is no problem report does so; otherwise late messages for a deleted contact would create it again.

`from_prior` without a new DID ends the connection. Such a message has no sender and names no receiver, so any receiver
could pass it on. It therefore counts only if the DID was made for a single relationship, a did:peer, or if the DID
itself authenticated the message.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from tntcore.connections import names
from tntcore.connections.connection import in_place_of, pairwise, start
from tntcore.connections.documents import MAX_DOCUMENT, kept
from tntcore.connections.effect import Effect, Reaction, Refusal, Refused
from tntcore.connections.handshake import find_invitation
from tntcore.connections.sender import OtherSide, Sender, kid_of
from tntcore.dids import peer
from tntcore.dids.document import AGREEMENT_CURVES, DidDocument
from tntcore.dids.endpoint import didcomm_endpoint
from tntcore.envelope import Anoncrypt, Authcrypt, EnvelopeError, Plaintext, Signed, Unpacked, from_prior, same_did
from tntcore.errors import UNRESOLVABLE, DidError, Problem
from tntcore.messaging.ids import delivery_uuid, random_uuid
from tntcore.messaging.invitations import InvitationMessage
from tntcore.messaging.message import Message
from tntcore.messaging.problems import is_problem_report, read_problem_report, reason_given
from tntcore.protocols.transition import OutOfTurn
from tntcore.services import Services
from tntcore.storage.commit import Changed
from tntcore.storage.records import Connection, Contact, Identity, Invitation
from tntcore.storage.states import COMPLETED, ContactStatus, InvitationStatus
from tntcore.strict_json import write_json
from tntcore.tenancy.recipients import KeyPairs, Recipient, curves_for, dids_of
from tntcore.tenancy.tenants import Tenant

OUT_OF_BAND_2: Final = "https://didcomm.org/out-of-band/2.0"
FORM: Final = "out-of-band/2"
_PING: Final = "https://didcomm.org/trust-ping/2.0/ping"
EMPTY: Final = "https://didcomm.org/empty/1.0/empty"
_PROBLEM_REPORT: Final = "https://didcomm.org/report-problem/2.0/problem-report"


class FirstContact:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def owner(self, tenant: Tenant, recipient: Recipient, unpacked: Unpacked) -> Recipient:
        """Finds the connection that a message to `recipient` belongs to. A message to an invitation, or to an identity
        whose DID an invitation named, belongs to its sender's connection, if there is one: agents write there until
        they learn our DID for them.
        """
        if unpacked.version != "v2":
            return recipient
        if recipient.connection is not None:
            return recipient if _is_for(recipient.document, unpacked) else replace(recipient, at_invitation=True)
        if recipient.invitation is not None and recipient.invitation.form != FORM:
            return recipient
        # The claim of from_prior only selects the connection by whose records it is then judged.
        for did in (_sender_of(unpacked), _claimed_issuer(unpacked)):
            known = await self._known(tenant, recipient, did) if did else None
            if known is not None:
                return replace(known, at_invitation=True)
        return recipient

    async def _known(self, tenant: Tenant, recipient: Recipient, did: str) -> Recipient | None:
        """Finds the connection of a DID's owner at an invitation or identity."""
        uuid = Connection.uuid_of(recipient.identity_uuid, _contact_uuid(recipient, did))
        # The record is read each time: such a message is rare, and a lost race brings it here again.
        connection = await tenant.records.get(Connection, uuid)
        if connection is None or not connection.keys:
            return None
        if recipient.invitation is not None and connection.invitation_uuid != recipient.invitation.uuid:
            return None
        known = await self._services.tenants.open_recipient(tenant, connection)
        return known if did in known.their_dids else None

    async def receive(self, tenant: Tenant, recipient: Recipient, message: Message, sender: Sender) -> Reaction | None:
        """Returns the effect of a v2 message on connections and their DIDs; None for none.

        Args:
            recipient: the result of `owner`.
        """
        did = kid_of(sender).partition("#")[0]
        connection = recipient.connection
        try:
            if _ends(message) and connection is not None and connection.version == "v2":
                return self._ended(recipient, connection, message, sender)
            if not did.startswith("did:"):
                return None
            if connection is None:
                return await self._first(tenant, recipient, message, kid_of(sender))
            if connection.version != "v2" or connection.state == "abandoned":
                return None
            effect: Reaction | None = None
            if message.fields.get("from_prior") is not None:
                effect = await self._rotated(tenant, recipient, connection, message, sender, did)
            elif isinstance(sender, OtherSide):
                effect = self._heard(recipient, connection, sender.kid)
            else:
                return None
            refused = _is_refusal(connection, message) and not isinstance(effect, Refusal)
            return _refused(connection, message, effect) if refused else effect
        except Refused as error:
            return Refusal(error.code)
        except (DidError, EnvelopeError) as error:
            if error.code == UNRESOLVABLE:
                raise
            return Refusal(error.code)

    # The inviter.

    async def _first(self, tenant: Tenant, recipient: Recipient, message: Message, kid: str) -> Effect | None:
        invitation = recipient.invitation
        if is_problem_report(message.type):
            return None
        if invitation is None and message.pthid is None and message.thid == message.id:
            return await self._begun(tenant, recipient, message, kid)
        if invitation is None and message.pthid:
            # To an identity's own key, because an invitation named its public DID.
            invitation = await find_invitation(self._services.lookups, tenant, message.pthid)
            if invitation is not None and invitation.identity_uuid != recipient.identity_uuid:
                return None
        if invitation is None or invitation.form != FORM or message.pthid is None:
            return None
        if message.pthid != invitation.invitation_id:
            raise Refused("invitation-unknown", "it names another invitation than its key belongs to")
        now = self._services.now()
        if invitation.status != InvitationStatus.ACTIVE or (invitation.expires_at and invitation.expires_at < now):
            raise Refused("invitation-not-valid", "the invitation was used or has expired")
        effect = await self._begun(tenant, recipient, message, kid, invitation)
        if not invitation.multi_use:
            effect.invitation = replace(invitation, status=InvitationStatus.USED, updated_at=now)
        return effect

    async def _begun(
        self, tenant: Tenant, recipient: Recipient, message: Message, kid: str, invitation: Invitation | None = None
    ) -> Effect:
        """Makes the connection of a first message. Raises `Changed`, `DidError` or `Refused`."""
        now = self._services.now()
        identity = await tenant.records.get(Identity, recipient.identity_uuid)
        if identity is None:
            raise Refused("identity-gone", "the identity of the invitation was deleted")
        did = kid.partition("#")[0]
        theirs = await self._document(did)
        if invitation is None:
            didcomm_endpoint(theirs, "v2")
        accepted = await tenant.auto_accept()
        new = Contact(
            uuid=_contact_uuid(recipient, did),
            status=ContactStatus.ACCEPTED if accepted else ContactStatus.REQUESTED,
            did=theirs.id,
            named=True,
            created_at=now,
            updated_at=now,
        )
        contact = (await tenant.records.get(Contact, new.uuid)) or new
        connection = start(identity, contact, now, invitation.did_method if invitation is not None else None)
        if contact.etag:
            # Made with the contact, before it was invited; its messages are held.
            waiting = await tenant.records.get(Connection, connection.uuid)
            if waiting is not None and waiting.state != "start":
                if await self._known(tenant, recipient, did) is not None:
                    # Another first message of the same sender has made it, since this one looked for it.
                    raise Changed(waiting.key)
                raise Refused("contact-connected", "the contact of the invitation is connected already")
            in_place_of(waiting, connection)
        connection.role = "responder"
        connection.state = COMPLETED if accepted else "request-received"
        connection.thid = message.thid
        if invitation is not None:
            connection.pthid, connection.invitation_uuid = invitation.invitation_id, invitation.uuid
        connection.contact_did = ""
        keys = self._begin(tenant, connection, theirs)
        connection.their_key_names = peer.key_names(theirs, kid)
        names.prove(connection, did)
        connection.introduction = {
            "from_prior": from_prior.sign(
                iss=recipient.document.id,
                sub=connection.my_did,
                kid=recipient.document.authentication[0],
                key=recipient.signer,
                issued_at=now // 1000,
            )
        }
        return Effect(connection, contact=None if contact.etag else contact, keys=keys)

    def admit(self, connection: Connection, effect: Effect) -> None:
        """Accepts a waiting contact: moves `connection` on, and tells the other side our DID for it.

        Raises:
            OutOfTurn: nothing waits.
        """
        if connection.state != "request-received":
            raise OutOfTurn(f"admitting in state {connection.state}")
        connection.state = COMPLETED
        effect.replies.append({"id": self._new_id(), "type": EMPTY, "thid": connection.thid, "body": {}})

    def turn_away(self, connection: Connection, effect: Effect) -> None:
        """Rejects a waiting contact. Raises the errors of `admit`."""
        if connection.state != "request-received":
            raise OutOfTurn(f"turning away in state {connection.state}")
        connection.state = "abandoned"
        report = {"code": "e.p.req.not-accepted", "comment": "The request was rejected."}
        effect.replies.append({"id": self._new_id(), "type": _PROBLEM_REPORT, "pthid": connection.thid, "body": report})

    # The invited side.

    async def accept(
        self, tenant: Tenant, connection: Connection, contact: Contact, content: InvitationMessage
    ) -> Effect:
        """Answers an out-of-band/2.0 invitation with a ping. The connection, a new one, is completed at once.

        Raises:
            Problem: 400 `invitation-unreachable`.
        """
        try:
            theirs = await self._document(content.from_did or "")
            didcomm_endpoint(theirs, "v2")
        except DidError as error:
            raise Problem(
                400,
                "invitation-unreachable",
                f"The DID of the invitation cannot be used: {error.detail}. Ask the partner for another invitation.",
            ) from None
        contact.status = ContactStatus.ACCEPTED
        connection.role, connection.state = "requester", COMPLETED
        connection.thid, connection.pthid = self._new_id(), content.id
        keys = self._begin(tenant, connection, theirs)
        names.claim(connection, theirs.id)
        # The messages that follow may overtake the first.
        connection.introduction = {"pthid": content.id}
        ping = {"id": connection.thid, "type": _PING, "pthid": content.id, "body": {"response_requested": True}}
        return Effect(connection, contact=contact, keys=keys, replies=[ping])

    async def reach(self, tenant: Tenant, connection: Connection, contact: Contact) -> Effect:
        """Writes to a public DID without an invitation, with a ping. The connection, a new one, is completed at once.

        Raises:
            DidError: the DID cannot be resolved, or has no endpoint.
        """
        theirs = await self._document(contact.did)
        didcomm_endpoint(theirs, "v2")
        contact.status = ContactStatus.ACCEPTED
        connection.role, connection.state = "requester", COMPLETED
        connection.thid, connection.invited_did = self._new_id(), contact.did
        # Its keys alone are written to and heard.
        connection.their_did = theirs.id
        keys = self._begin(tenant, connection, theirs)
        ping = {"id": connection.thid, "type": _PING, "body": {"response_requested": True}}
        return Effect(connection, contact=None if contact.etag else contact, keys=keys, replies=[ping])

    # Both.

    def _begin(self, tenant: Tenant, connection: Connection, theirs: DidDocument) -> tuple[str, ...]:
        """Sets the documents of a connection. Returns our new kids."""
        keys = KeyPairs.generate(*curves_for(theirs))
        mine = pairwise(self._services, keys, connection.did_method)
        connection.version, connection.protocol = "v2", OUT_OF_BAND_2
        connection.my_did, connection.my_document = mine.id, dict(mine.raw)
        connection.keys = tenant.records.seal(keys.serialise(), connection.key)
        connection.their_document = kept(theirs)
        return tuple(keys.by_kid(mine))

    async def _rotated(
        self, tenant: Tenant, recipient: Recipient, connection: Connection, message: Message, sender: Sender, did: str
    ) -> Reaction | None:
        """Returns the effect of the other side's new DID. Raises `DidError` or `EnvelopeError`."""
        prior = from_prior.read(message.fields["from_prior"])
        if not same_did(prior.sub, did):
            raise EnvelopeError("from-prior-subject", "from_prior is not about the sender")
        # A side that has rotated repeats from_prior until it hears from us. Then the new DID is known already.
        issuer = recipient.documents.get(prior.iss)
        is_known = isinstance(sender, OtherSide)
        if issuer is None or not (is_known or prior.iss in dids_of(recipient.theirs)):
            raise EnvelopeError("from-prior-issuer", "from_prior is not by the connection's other side")
        from_prior.verify(prior, issuer, self._services.now() / 1000)
        if is_known:
            return self._heard(recipient, connection, kid_of(sender))
        theirs = await self._document(did)
        changed = self._introduced(recipient, connection)
        changed.previous_document, changed.their_document = connection.their_document, kept(theirs)
        changed.their_key_names = peer.key_names(theirs, kid_of(sender))
        # Both have signed: the DID before this one in `from_prior`, and this one the message.
        changed.contact_did = changed.contact_did or issuer.id
        names.prove(changed, did)
        return Effect(changed, keys=self._follow_curve(tenant, recipient, changed, theirs))

    def _follow_curve(
        self, tenant: Tenant, recipient: Recipient, changed: Connection, theirs: DidDocument
    ) -> tuple[str, ...]:
        """Takes a new DID of ours if none of our keys is of the curve of their new document, as nothing could be sent
        to that otherwise. Returns our new kids.
        """
        ours, curves = recipient.document, curves_for(theirs)
        known = {ours.methods[kid].key.curve for kid in ours.key_agreement}
        # A DID that they have not heard of yet can introduce no other.
        if known.issuperset(curves) or changed.introduction:
            return ()
        keys = KeyPairs.generate(*curves)
        mine = pairwise(self._services, keys, changed.did_method)
        proof = from_prior.sign(
            iss=ours.id,
            sub=mine.id,
            kid=ours.authentication[0],
            key=recipient.signer,
            issued_at=self._services.now() // 1000,
        )
        changed.introduction = {"from_prior": proof}
        changed.former_did, changed.former_document = changed.my_did, changed.my_document
        changed.former_keys = changed.keys
        changed.my_did, changed.my_document = mine.id, dict(mine.raw)
        changed.keys = tenant.records.seal(keys.serialise(), changed.key)
        return tuple(keys.by_kid(mine))

    def _ended(self, recipient: Recipient, connection: Connection, message: Message, sender: Sender) -> Effect:
        """Returns the effect of the other side's end of the relationship. Raises `EnvelopeError`."""
        prior = from_prior.read(message.fields["from_prior"])
        issuer = recipient.documents.get(prior.iss)
        if issuer is None or prior.iss not in dids_of(recipient.theirs):
            raise EnvelopeError("from-prior-issuer", "from_prior is not by the connection's other side")
        is_known = isinstance(sender, OtherSide)
        if not is_known and not prior.iss.startswith("did:peer:"):
            raise EnvelopeError("sender-unknown", "only an authenticated message ends the relationship of a public DID")
        from_prior.verify(prior, issuer, self._services.now() / 1000)
        changed = replace(connection, state="abandoned", updated_at=self._services.now())
        return Effect(changed, ordinary=is_known)

    def _heard(self, recipient: Recipient, connection: Connection, kid: str) -> Effect | None:
        changed = self._introduced(recipient, connection)
        theirs = recipient.theirs
        if theirs is not None and kid.partition("#")[0] == theirs.id:
            changed.their_key_names = peer.key_names(theirs, kid)
        same = (changed.introduction, changed.their_key_names) == (connection.introduction, connection.their_key_names)
        return None if same else Effect(changed, ordinary=True)

    def _introduced(self, recipient: Recipient, connection: Connection) -> Connection:
        """Returns the connection after a message of the other side. A message to our DID ends its introduction."""
        changed = replace(connection, updated_at=self._services.now())
        if not recipient.at_invitation:
            changed.introduction = {}
        return changed

    async def _document(self, did: str) -> DidDocument:
        """Returns a document that a connection can store. Raises `DidError`."""
        document = await self._services.resolver.resolve(did)
        if did.startswith("did:peer:4"):
            # The short form cannot be resolved later.
            long = next((other for other in document.also_known_as if other.startswith(f"{did}:")), did)
            document = await self._services.resolver.resolve(long)
        if len(write_json(kept(document))) > MAX_DOCUMENT:
            raise DidError("document-too-large", f"a document may have {MAX_DOCUMENT} bytes")
        if not any(document.methods[kid].key.curve in AGREEMENT_CURVES for kid in document.key_agreement):
            raise DidError(
                "no-key-agreement",
                f"the DID document has no key to encrypt for: keyAgreement needs one of {', '.join(AGREEMENT_CURVES)}",
            )
        return document

    def _new_id(self) -> str:
        return random_uuid(self._services.random)


def _is_refusal(connection: Connection, message: Message) -> bool:
    """Whether the other side rejects the connection that we began (`turn_away`). Other reports on that thread may be
    about the ping alone.
    """
    if connection.role != "requester" or connection.thid not in (message.thid, message.pthid):
        return False
    report = read_problem_report(message)
    return report is not None and report.code.startswith("e.p.req")


def _refused(connection: Connection, message: Message, effect: Reaction | None) -> Effect:
    """Returns the effect of a rejection. `effect`: other effects of the message."""
    effect = effect if isinstance(effect, Effect) else Effect(replace(connection), ordinary=True)
    effect.connection.state, effect.connection.error, effect.rejects = "abandoned", reason_given(message), True
    return effect


def _contact_uuid(recipient: Recipient, did: str) -> str:
    """Returns the uuid of the contact for a DID's owner at an invitation, or at all those of an identity's public DID.
    It is always the same, so that no search is needed and a second first message of the same sender finds the contact
    of the first.
    """
    if did.startswith("did:peer:4"):
        did = peer.short_form(did)
    known = recipient.invitation.contact_uuid if recipient.invitation else ""
    return known or delivery_uuid(recipient.scope, f"contact/{did}")


def _is_for(document: DidDocument, unpacked: Unpacked) -> bool:
    """Whether the message was sent to a key of this document."""
    match unpacked:
        case Plaintext():
            return False
        case _:
            return unpacked.recipient_kid in {*document.methods, *document.aliases}


def _ends(message: Message) -> bool:
    claim = message.fields.get("from_prior")
    try:
        return claim is not None and message.version == "v2" and not from_prior.read(claim).sub
    except EnvelopeError:
        return False


def _sender_of(unpacked: Unpacked) -> str:
    match unpacked:
        case Authcrypt(sender_kid=kid) | Signed(signer_kid=kid):
            return kid.partition("#")[0]
        case Anoncrypt() | Plaintext():
            return ""


def _claimed_issuer(unpacked: Unpacked) -> str:
    claim: Any = Message.read(unpacked.plaintext, "v2").fields.get("from_prior")
    try:
        return from_prior.read(claim).iss if claim is not None else ""
    except EnvelopeError:
        return ""
