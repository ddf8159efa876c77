"""A tenant's own signer: holds the key of a DID, and signs what it is asked to."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import orjson
from nacl.signing import SigningKey
from standardwebhooks import Webhook

from tests.stack import Client, Hook, Receiver
from tntcore.credentials.formats import Signer
from tntcore.dids import key as did_key
from tntcore.dids import web
from tntcore.dids.document import PublicKey
from tntcore.identities.signing import signer_for
from tntcore.storage.records import Identity


class ExternalSigner:
    """
    Attributes:
        did: a did:key of its key. web_did: a did:web of the same key, whose document its receiver serves too.
        secret: with which the service signs its calls.
        reply: what is answered to a request: status, headers, text.
        before: a change to the bytes that are signed.
    """

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.key = SigningKey.generate()
        self.public = PublicKey("Ed25519", self.key.verify_key.encode())
        self.did = did_key.create(self.public)
        self.web_did = web.did_web_for(receiver.url, "me")
        self.secret = ""
        self.url = receiver.url + "/sign"
        self.reply: Callable[[Hook], tuple[int, dict[str, str], str]] = self.sign
        receiver.answer = self._answer

    @property
    def asked(self) -> list[Hook]:
        return [hook for hook in self.receiver.got if hook.method == "POST"]

    def _answer(self, hook: Hook) -> tuple[int, dict[str, str]]:
        if hook.method == "GET":
            document = web.identity_document(self.web_did, {"k": self.public}, None)
            self.receiver.text = orjson.dumps(document).decode()
            return 200, {}
        status, headers, self.receiver.text = self.reply(hook)
        return status, headers

    def sign(self, hook: Hook) -> tuple[int, dict[str, str], str]:
        """As an honest signer does: only for the service, and only for its own DIDs."""
        Webhook(self.secret).verify(hook.body, dict(hook.headers))
        asked = hook.json()
        assert asked["did"] in (self.did, self.web_did)
        assert asked["verificationMethod"].startswith(asked["did"] + "#")
        assert (asked["kid"], asked["algorithm"]) == (asked["verificationMethod"], "EdDSA")
        return 200, {}, self.answer(base64.urlsafe_b64decode(asked["message"] + "=="))

    def answer(self, message: bytes) -> str:
        return orjson.dumps({"signature": base64.b64encode(self.key.sign(message).signature).decode()}).decode()

    async def serve(self, client: Client, **preferences: object) -> None:
        """Becomes the signer of the tenant."""
        setting = {"setting": {"externalSigningUrl": self.url, **preferences}}
        self.secret = (await client.post("settings/PRINCIPAL_SETTINGS", setting, 200))["secrets"]["externalSigningUrl"]


@asynccontextmanager
async def external_signer() -> AsyncIterator[ExternalSigner]:
    receiver = Receiver()
    await receiver.start()
    try:
        yield ExternalSigner(receiver)
    finally:
        await receiver.stop()


async def bind(client: Client, did: str) -> None:
    answer = await client.call("PUT", f"identity/{client.identity['uuid']}", {"did": did})
    assert answer.status == 200, answer.body


async def signer_of(client: Client, uuid: str = "") -> Signer:
    tenant = await client.tenant()
    identity = await tenant.records.get(Identity, uuid or client.identity["uuid"])
    assert identity is not None
    return await signer_for(client.stack.app.services, tenant, identity)
