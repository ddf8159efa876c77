"""An agent outside the service whose every byte is ours to choose: an honest one, or an attacker."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson

from devtools import agent
from devtools.agent import Json, new_id, verkey_of
from tests.stack import Receiver, Stack
from tntcore.dids import sov
from tntcore.dids.document import DidDocument
from tntcore.dids.parse import parse_document
from tntcore.envelope import PrivateKey
from tntcore.envelope.keys import verkey_to_did_key
from tntcore.envelope.signatures import sign_attachment, sign_field
from tntcore.protocols.did_exchange import CONNECTIONS_1_0, DID_EXCHANGE_1_0, DID_EXCHANGE_1_1
from tntcore.tenancy.recipients import KeyPairs

__all__ = ["DIALECTS", "Agent", "Json", "new_id", "verkey_of"]

DIALECTS = (DID_EXCHANGE_1_1, DID_EXCHANGE_1_0, CONNECTIONS_1_0)


class Agent(agent.Agent):
    """One that sends to the service under test, and hears what comes to a `receiver`.

    Args:
        endpoint: by default where its `receiver` listens.
    """

    def __init__(self, stack: Stack, receiver: Receiver, keys: KeyPairs | None = None, endpoint: str = "") -> None:
        super().__init__(endpoint or f"{receiver.url}/agent", keys)
        self.stack = stack
        self.receiver = receiver

    def another(self, **changes: Any) -> Agent:
        """One with other keys, at the same place."""
        return Agent(self.stack, self.receiver, **changes)

    # Its documents.

    def legacy(self, did: str = "") -> Json:
        """The document that agents of RFC 0160 attach."""
        return sov.legacy_document(did or self.sov, self.verkey, self.endpoint)

    def document_in(self, protocol: str) -> DidDocument:
        """As `did` has it in the messages of the dialect."""
        return self.document if protocol == DID_EXCHANGE_1_1 else parse_document(self.legacy())

    # What it says.

    def signed(self, value: Any, key: PrivateKey | None = None) -> Json:
        """A signed attachment of a document or a DID."""
        payload = value.encode() if isinstance(value, str) else orjson.dumps(value)
        return sign_attachment(payload, key or self.keys.ed25519, mime_type="application/json", id=new_id())

    def request(self, protocol: str, pthid: str, **members: Any) -> Json:
        """A request with a DID of its own; `members` replace, and None takes away."""
        request_id = new_id()
        message: Json = {
            "@type": f"{protocol}/request",
            "@id": request_id,
            "~thread": {"thid": request_id, "pthid": pthid},
            "label": "Agent",
        }
        if protocol == CONNECTIONS_1_0:
            message["connection"] = {"DID": self.sov, "DIDDoc": self.legacy()}
        elif protocol == DID_EXCHANGE_1_0:
            message |= {"did": self.sov, "did_doc~attach": self.signed(self.legacy())}
        else:
            message["did"] = self.peer_2
        return _replaced(message, members)

    def response(self, protocol: str, thid: str, signer: PrivateKey, **members: Any) -> Json:
        """A response with a DID of its own that is signed by `signer`, the key of the invitation if it is to count."""
        message: Json = {"@type": f"{protocol}/response", "@id": new_id(), "~thread": {"thid": thid}}
        if protocol == CONNECTIONS_1_0:
            message["connection~sig"] = sign_field({"DID": self.sov, "DIDDoc": self.legacy()}, signer, 1_700_000_000)
        elif protocol == DID_EXCHANGE_1_0:
            message |= {"did": self.sov, "did_doc~attach": self.signed(self.legacy(), signer)}
        else:
            message |= {"did": self.peer_2, "did_rotate~attach": self.signed(self.peer_2, signer)}
        return _replaced(message, members)

    def invitation(self, *protocols: str, **members: Any) -> Json:
        """An out-of-band invitation, for its own key."""
        message = {
            "@type": "https://didcomm.org/out-of-band/1.1/invitation",
            "@id": new_id(),
            "label": "Agent",
            "handshake_protocols": list(protocols),
            "services": [
                {
                    "id": "#inline",
                    "type": "did-communication",
                    "recipientKeys": [verkey_to_did_key(self.verkey)],
                    "serviceEndpoint": self.endpoint,
                }
            ],
        }
        return _replaced(message, members)

    # How it says it.

    async def send(self, message: Mapping[str, Any], to: str, *, anonymous: bool = False) -> str:
        """Delivers a message for one of the service's keys; its `@id`."""
        answer = await self.stack.deliver(self.pack(message, to, anonymous=anonymous))
        assert (answer.status, answer.body) == (202, b"")
        return str(message.get("@id", ""))

    # What it hears.

    def heard(self, name: str = "") -> list[tuple[Json, str]]:
        """What came for it until now, of types that end in `name`."""
        got = (self.opened(hook.body) for hook in self.receiver.got)
        return [one for one in got if one is not None and one[0]["@type"].endswith(name)]

    async def hears(self, name: str, number: int = 1) -> tuple[Json, str]:
        """The message of that name with this number, once it is there, and its sender."""

        async def check() -> list[tuple[Json, str]] | None:
            found = self.heard(name)
            return found if len(found) >= number else None

        try:
            return (await self.stack.eventually(check))[number - 1]  # type: ignore[no-any-return]
        except TimeoutError:
            raise AssertionError(f"no {name}: {[one['@type'] for one, _ in self.heard()]}") from None

    async def hears_nothing_more(self, number: int = 0) -> None:
        await asyncio.sleep(0.3)
        assert [one["@type"] for one, _ in self.heard()][number:] == []


def _replaced(message: Json, members: Mapping[str, Any]) -> Json:
    replaced = {**message, **{name.replace("__", "~"): value for name, value in members.items()}}
    return {name: value for name, value in replaced.items() if value is not None}
