"""Changing the DIDs of a live connection (RFC 0794), theirs and ours, without losing a message.

Of both sides the DID before the present one stays valid: for what was sent before the change and arrives after it.
"""

from __future__ import annotations

from dataclasses import replace

from tntcore.connections import COMPLETED, pairwise
from tntcore.dids.document import DidDocument
from tntcore.errors import DidError, Problem
from tntcore.handshake import Effect, checked, kept, resolvable
from tntcore.messaging.message import Message
from tntcore.pipeline.outgoing import random_uuid
from tntcore.protocols import did_rotate as rfc
from tntcore.records import Connection
from tntcore.services import Services
from tntcore.tenants import KeyPairs, Recipient, Tenant, verkeys


class Rotation:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def receive(
        self, recipient: Recipient, connection: Connection, message: Message, sender: str
    ) -> Effect | None:
        """What a message of the protocol, by the connection's other side, does; None for any other message.

        Args:
            recipient: of `connection`.
            sender: the verkey that authenticated.
        """
        kind = rfc.kind_of(message)
        # Before the response there is no DID but the invitation's, whose keys alone may vouch for the response.
        if kind is None or connection.state not in (COMPLETED, "response-sent"):
            return None
        if kind in ("rotate", "hangup") and sender not in verkeys(recipient.theirs):
            # A DID is also given up because others have its keys.
            return Effect(error="sender-retired", ordinary=True)
        changed = replace(connection, updated_at=self._services.now())
        effect = Effect(changed, vouched=True, ordinary=True)
        if kind == "rotate":
            await self._theirs(changed, message, effect)
        elif kind == "hangup":
            changed.state = "abandoned"
        elif message.thid == connection.next_thid and connection.next_keys:
            if kind == "ack":
                self._adopt(changed)
            else:
                changed.next_keys = b""
        return effect

    async def _theirs(self, changed: Connection, message: Message, effect: Effect) -> None:
        to_did = message.fields.get("to_did")
        did = to_did if isinstance(to_did, str) else ""
        try:
            document = await self._new_document(did)
        except DidError as error:
            code = rfc.METHOD_UNSUPPORTED if error.code == "unsupported-method" else rfc.UNRESOLVABLE
            code = rfc.DOC_UNSUPPORTED if error.code in ("no-endpoint", "document-too-large") else code
            effect.replies.append(rfc.problem_report(message, message_id=self._new_id(), code=code, did=did[:2000]))
            return
        if document.id != changed.their_did:
            changed.previous_document = changed.their_document
            changed.their_did, changed.their_document = document.id, kept(document)
        effect.replies.append(rfc.ack(message, message_id=self._new_id()))
        effect.to_previous = True

    async def _new_document(self, did: str) -> DidDocument:
        if not resolvable(did):
            raise DidError("unsupported-method", "a DID that cannot be resolved")
        return checked(await self._services.resolver.resolve(did))

    def begin(self, tenant: Tenant, connection: Connection) -> Effect:
        """Announces a new DID of ours: received under at once, and sent from when the other side has acknowledged. One
        that was announced and has not been answered is announced again: the other side may use it already.

        Raises:
            Problem: 409 if the connection is not completed, or not one of DIDComm v1.
        """
        if connection.state != COMPLETED or connection.version != "v1":
            raise Problem(409, "not-rotatable", "Only a completed connection of DIDComm v1 can be rotated.")
        changed = replace(connection, updated_at=self._services.now())
        effect = Effect(changed, vouched=True)
        changed.next_thid = self._new_id()
        if not changed.next_keys:
            keys = KeyPairs.generate()
            mine = pairwise(self._services, keys)
            changed.next_did, changed.next_document = mine.id, dict(mine.raw)
            changed.next_keys = tenant.records.seal(keys.serialise(), changed.key)
            effect.keys = tuple(keys.by_kid(mine))
        effect.replies.append(rfc.rotate(message_id=changed.next_thid, to_did=changed.next_did))
        return effect

    def hang_up(self, connection: Connection) -> Effect:
        """Ends a connection, and tells the other side. Raises `Problem` 409 if it is not completed."""
        if connection.state != COMPLETED or connection.version != "v1":
            raise Problem(409, "not-connected", "Only a completed connection of DIDComm v1 can be hung up.")
        changed = replace(connection, state="abandoned", updated_at=self._services.now())
        effect = Effect(changed, vouched=True)
        effect.replies.append(rfc.hangup(message_id=self._new_id()))
        return effect

    def _adopt(self, changed: Connection) -> None:
        changed.former_did, changed.former_document = changed.my_did, changed.my_document
        changed.former_keys = changed.keys
        changed.my_did, changed.my_document, changed.keys = changed.next_did, changed.next_document, changed.next_keys
        changed.next_keys = b""

    def _new_id(self) -> str:
        return random_uuid(self._services.random)
