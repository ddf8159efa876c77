"""An agent outside the service whose every byte is ours to choose, for the benchmarks and for tests."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import orjson

from tntcore import envelope
from tntcore.dids import peer, sov
from tntcore.dids.build import didcomm_services
from tntcore.dids.document import DidDocument
from tntcore.dids.key import did_key_to_verkey
from tntcore.envelope import Authcrypt, EnvelopeError
from tntcore.tenancy.recipients import KeyPairs

Json = dict[str, Any]

BASIC_MESSAGE = "https://didcomm.org/basicmessage/1.0/message"


def new_id() -> str:
    return str(uuid.uuid4())


def verkey_of(content: Mapping[str, Any]) -> str:
    """The key that an invitation with an inline service is answered to."""
    if "recipientKeys" in content:
        return str(content["recipientKeys"][0])
    return did_key_to_verkey(content["services"][0]["recipientKeys"][0])


class Agent:
    """Keys, and the endpoint where it is sent to."""

    def __init__(self, endpoint: str, keys: KeyPairs | None = None) -> None:
        self.endpoint = endpoint
        self.keys = keys or KeyPairs.generate()

    @property
    def verkey(self) -> str:
        return self.keys.verkey

    @property
    def sov(self) -> str:
        return sov.create(self.verkey)

    @property
    def peer_2(self) -> str:
        keys = [("E", self.keys.x25519.public), ("V", self.keys.ed25519.public)]
        return peer.create_2(keys, didcomm_services(self.endpoint, "#key-2"))  # type: ignore[arg-type]

    @property
    def peer_4(self) -> str:
        return peer.create_4(peer.input_document({"key-1": self.keys.ed25519.public}, self.endpoint))

    @property
    def document(self) -> DidDocument:
        """Of its did:peer:2."""
        return peer.resolve(self.peer_2)

    def pack(self, message: Mapping[str, Any], *to: str, anonymous: bool = False) -> bytes:
        """A message for these keys, in an envelope of DIDComm v1."""
        return envelope.pack_v1(
            orjson.dumps(message), recipients=list(to), sender=None if anonymous else self.keys.ed25519
        )

    def opened(self, body: bytes) -> tuple[Json, str] | None:
        """A message that came in and who sent it (a verkey), if it is for this agent."""
        try:
            unpacked = envelope.unpack(body, {self.verkey: self.keys.ed25519}, {})
        except EnvelopeError:
            return None
        assert isinstance(unpacked, Authcrypt)
        return orjson.loads(unpacked.plaintext), unpacked.sender_kid
