"""An agent of DIDComm v2 that is not of this service: it has one DID at a time, and keeps what it is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from tests.stack import Answer, Receiver, Stack
from tntcore.dids import key as did_key
from tntcore.dids import peer
from tntcore.dids.build import didcomm_services
from tntcore.dids.document import DidDocument, Version
from tntcore.dids.multiformats import encode_multikey
from tntcore.envelope import Anoncrypt, Authcrypt, from_prior, pack_v2, peek, unpack
from tntcore.tenancy.recipients import KeyPairs

MEDIA_TYPE = "application/didcomm-encrypted+json"
PING = "https://didcomm.org/trust-ping/2.0/ping"
BASIC_2 = "https://didcomm.org/basicmessage/2.0/message"
_V2: tuple[Version, ...] = ("v2",)


class Agent:
    def __init__(self, stack: Stack, inbox: Receiver) -> None:
        self._stack = stack
        self.inbox = inbox
        self.keys = KeyPairs.generate()
        self.document = self.peer_2()

    @property
    def did(self) -> str:
        return self.document.id

    def peer_2(self) -> DidDocument:
        keys = [("E", self.keys.x25519.public), ("V", self.keys.ed25519.public)]
        return peer.resolve(peer.create_2(keys, didcomm_services(self.inbox.url, None, versions=_V2)))  # type: ignore[arg-type]

    def peer_4(self) -> DidDocument:
        keys = {"key-1": self.keys.ed25519.public, "key-2": self.keys.x25519.public}
        return peer.resolve(peer.create_4(peer.input_document(keys, self.inbox.url, versions=_V2)))

    def key(self) -> DidDocument:
        """Of a did:key, which says nothing of where to write to it."""
        self.keys = KeyPairs(self.keys.ed25519, self.keys.ed25519.to_x25519())
        return did_key.resolve(did_key.create(self.keys.ed25519.public))

    def rotate(self) -> str:
        """Takes a new DID; the `from_prior` that proves it."""
        iss, kid, key = self.did, self.document.authentication[0], self.keys.ed25519
        self.keys = KeyPairs.generate()
        self.document = self.peer_2()
        return from_prior.sign(iss=iss, sub=self.did, kid=kid, key=key, issued_at=1_700_000_000)

    def pack(self, message: Mapping[str, Any], to: DidDocument) -> bytes:
        """`id`, `type`, `from` and `to` are filled in."""
        addressed = {"id": "1", "type": BASIC_2, "from": self.did, "to": [to.id], "body": {}, **message}
        return pack_v2(addressed, to=to, from_=(self.document, self.keys.by_kid(self.document)))

    async def send(self, message: Mapping[str, Any], to: str | DidDocument) -> None:
        answer = await self.deliver(self.pack(message, peer.resolve(to) if isinstance(to, str) else to))
        assert answer.status == 202, answer.body

    async def deliver(self, packed: bytes) -> Answer:
        return await self._stack.deliver(packed, MEDIA_TYPE)

    async def got(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first wanted message that was sent to it under its present keys, with the DID URL that sent it as
        `skid`."""
        opened: dict[str, Any] = {}

        def check(hook: Any) -> bool:
            message = self.open(hook.body)
            if message and wanted(message):
                opened.update(message)
                return True
            return False

        await self.inbox.until(check)
        return opened

    def open(self, packed: bytes) -> dict[str, Any]:
        """Nothing of what is not for its present keys."""
        secrets = self.keys.by_kid(self.document)
        if not set(peek(packed).recipient_kids) & secrets.keys() or not peek(packed).sender_kid:
            return {}
        sender = (peek(packed).sender_kid or "").partition("#")[0]
        unpacked = unpack(packed, secrets, {sender: peer.resolve(sender)})
        assert isinstance(unpacked, Authcrypt)
        return {**orjson.loads(unpacked.plaintext), "skid": unpacked.sender_kid}

    def anonymous(self, packed: bytes) -> dict[str, Any]:
        """What nobody sent."""
        unpacked = unpack(packed, self.keys.by_kid(self.document), {})
        assert isinstance(unpacked, Anoncrypt)
        return dict(orjson.loads(unpacked.plaintext))


def named_as_before(document: DidDocument) -> DidDocument:
    """The same did:peer:2 as software that is older than the present key ids resolves it: keys named by their value."""
    names = {id_: f"{document.id}#{encode_multikey(method.key)[1:]}" for id_, method in document.methods.items()}
    return replace(
        document,
        methods={names[id_]: replace(method, id=names[id_]) for id_, method in document.methods.items()},
        authentication=tuple(names[kid] for kid in document.authentication),
        key_agreement=tuple(names[kid] for kid in document.key_agreement),
    )
