"""Changes the DIDs of a live connection, theirs and ours, without losing a message: with messages of their own in v1
(RFC 0794), and in v2 by `from_prior` in every message (DIDComm Messaging 2.1, "DID Rotation"; `first_contact.py` reads
the other side's).

The DID before the present one stays valid on both sides, for messages sent before the change that arrive after it.
"""

from __future__ import annotations

from dataclasses import replace

from tntcore.connections import names
from tntcore.connections.connection import pairwise
from tntcore.connections.documents import checked, kept, resolvable
from tntcore.connections.effect import Effect, Reaction, Refusal
from tntcore.connections.first_contact import EMPTY
from tntcore.connections.sender import OtherSide
from tntcore.dids.document import DidDocument
from tntcore.envelope import from_prior
from tntcore.errors import DidError, Problem
from tntcore.messaging.ids import random_uuid
from tntcore.messaging.message import Message
from tntcore.protocols import did_rotate as rfc
from tntcore.services import Services
from tntcore.storage.records import Connection
from tntcore.storage.states import COMPLETED
from tntcore.tenancy.recipients import KeyPairs, Recipient, curves_for, document_id, document_of, verkeys
from tntcore.tenancy.tenants import Tenant


class Rotation:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def receive(
        self, recipient: Recipient, sender: OtherSide, message: Message, kind: rfc.MessageKind
    ) -> Reaction | None:
        """Returns the effect of a message of the protocol from the connection's other side; None for none.

        Args:
            recipient: of the sender's connection.
        """
        connection = sender.connection
        # Before the response the invitation's DID is the only one, and only its keys may sign the response.
        if connection.state not in (COMPLETED, "response-sent"):
            return None
        if kind in ("rotate", "hangup") and self._is_retired(recipient, message, sender.kid):
            return Refusal("sender-retired", of_handshake=False)
        changed = replace(connection, updated_at=self._services.now())
        effect = Effect(changed, ordinary=True)
        if kind == "rotate":
            await self._theirs(changed, message, sender.kid, effect)
        elif kind == "hangup":
            changed.state = "abandoned"
        elif message.thid == connection.next_thid and connection.next_keys:
            if kind == "ack":
                self._adopt(changed)
            else:
                changed.next_keys = b""
        return effect

    def _is_retired(self, recipient: Recipient, message: Message, verkey: str) -> bool:
        """Whether the sender's key has been replaced. DIDs are also replaced because their keys were stolen: the old
        one may then announce the same new DID again, and nothing else.
        """
        if recipient.announced is None:
            return verkey not in verkeys(recipient.theirs)
        return message.fields.get("to_did") != recipient.announced.id

    async def _theirs(self, changed: Connection, message: Message, verkey: str, effect: Effect) -> None:
        """Announces the other side's new DID. It counts once one of its keys has authenticated a message. Until then
        the old one is shown, both are accepted, and messages go to the new one, as the other side wants.
        """
        to_did = message.fields.get("to_did")
        did = to_did if isinstance(to_did, str) else ""
        try:
            document = await self._new_document(did)
        except DidError as error:
            code = rfc.METHOD_UNSUPPORTED if error.code == "unsupported-method" else rfc.UNRESOLVABLE
            code = rfc.DOC_UNSUPPORTED if error.code in ("no-endpoint", "document-too-large") else code
            effect.replies.append(rfc.problem_report(message, message_id=self._new_id(), code=code, did=did[:2000]))
            return
        if document.id != document_id(changed.their_document):
            changed.announced_document = kept(document)
            if verkey in verkeys(document):
                names.adopt(changed)
                names.prove(changed, verkey)
        effect.replies.append(rfc.ack(message, message_id=self._new_id()))
        effect.to_previous = True

    async def _new_document(self, did: str) -> DidDocument:
        if not (resolvable(did) or self._services.resolver.fetches(did)):
            raise DidError("unsupported-method", "a DID that cannot be resolved")
        return checked(await self._services.resolver.resolve(did))

    def begin(self, tenant: Tenant, connection: Connection) -> Effect:
        """Announces a new DID of ours: messages to it are received at once, and it sends once the other side has
        acknowledged. An unanswered announcement is repeated on the same thread: the other side may use the DID already,
        and then answers only the first one.

        Raises:
            Problem: 409 if the connection is not completed, or, in DIDComm v2, the other side has not written yet.
        """
        if connection.state != COMPLETED:
            raise Problem(
                409, "not-rotatable", "The connection is not completed. Rotate it when its state is completed."
            )
        if connection.version == "v2":
            return self._begin_2(tenant, connection)
        changed = replace(connection, updated_at=self._services.now())
        effect = Effect(changed)
        message_id = self._new_id()
        if not changed.next_keys:
            changed.next_thid = message_id
            keys = KeyPairs.generate()
            mine = pairwise(self._services, keys, changed.did_method)
            changed.next_did, changed.next_document = mine.id, dict(mine.raw)
            changed.next_keys = tenant.records.seal(keys.serialise(), changed.key)
            effect.keys = tuple(keys.by_kid(mine))
        effect.replies.append(rfc.rotate(message_id=message_id, thid=changed.next_thid, to_did=changed.next_did))
        return effect

    def _begin_2(self, tenant: Tenant, connection: Connection) -> Effect:
        """Sends from the new DID at once; messages to the former one are read until the next change."""
        if connection.introduction and "from_prior" not in connection.introduction:
            raise Problem(
                409,
                "not-rotatable",
                "The other side may not know the current DID yet. Rotate again "
                "after you have received a message from it.",
            )
        changed = replace(connection, updated_at=self._services.now())
        effect = Effect(changed)
        if not connection.introduction:
            theirs = document_of(document_id(connection.their_document), connection.their_document)
            keys = KeyPairs.generate(*curves_for(theirs))
            mine = pairwise(self._services, keys, changed.did_method)
            changed.introduction = {"from_prior": self._from_prior(tenant, connection, mine.id)}
            changed.next_did, changed.next_document = mine.id, dict(mine.raw)
            changed.next_keys = tenant.records.seal(keys.serialise(), changed.key)
            self._adopt(changed)
            effect.keys = tuple(keys.by_kid(mine))
        effect.replies.append({"id": self._new_id(), "type": EMPTY, "body": {}})
        return effect

    def _from_prior(self, tenant: Tenant, connection: Connection, sub: str) -> str:
        keys = KeyPairs.deserialise(tenant.records.open(connection.keys, connection.key))
        kid = document_of(connection.my_did, connection.my_document).authentication[0]
        issued_at = self._services.now() // 1000
        return from_prior.sign(iss=connection.my_did, sub=sub, kid=kid, key=keys.ed25519, issued_at=issued_at)

    def hang_up(self, tenant: Tenant, connection: Connection) -> Effect:
        """Ends a connection, and tells the other side. Raises `Problem` 409 if it is not completed."""
        if connection.state != COMPLETED:
            raise Problem(
                409,
                "not-connected",
                "The connection is not completed, so it cannot be ended. Reject it instead: "
                f"POST /api/connection/{connection.uuid}/reject.",
            )
        changed = replace(connection, state="abandoned", updated_at=self._services.now())
        effect = Effect(changed)
        if connection.version == "v2":
            ending = self._from_prior(tenant, connection, "")
            effect.replies.append({"id": self._new_id(), "type": EMPTY, "body": {}, "from_prior": ending})
        else:
            effect.replies.append(rfc.hangup(message_id=self._new_id()))
        return effect

    def _adopt(self, changed: Connection) -> None:
        changed.former_did, changed.former_document = changed.my_did, changed.my_document
        changed.former_keys = changed.keys
        changed.my_did, changed.my_document, changed.keys = changed.next_did, changed.next_document, changed.next_keys
        changed.next_keys = b""

    def _new_id(self) -> str:
        return random_uuid(self._services.random)
