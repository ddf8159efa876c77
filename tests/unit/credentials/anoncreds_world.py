"""An issuer, a holder and a verifier of AnonCreds in one process: the registry reads what the issuer published."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tntcore.credentials.anoncreds.common import Tools
from tntcore.credentials.anoncreds.credential import AnonCreds, preview_of
from tntcore.credentials.anoncreds.issuer import Issuer, newest_status, published_resource
from tntcore.credentials.anoncreds.proof import AnonCredsProof
from tntcore.credentials.anoncreds.registry import Json, Registries, TailsFiles, WebRegistry, is_unqualified
from tntcore.credentials.formats import FormatError, HeldCredential, Issuing, Party, ReceivedCredential, Verified
from tntcore.dids.document import PublicKey
from tntcore.keys.custody import DataKey
from tntcore.storage.records import CredentialDefinition, Identity, Schema
from tntcore.storage.repository import Repository
from tntcore.storage.storage import Storage
from tntcore.workers import Workers

HOST = "https://issuer.example/api/identity/"


class NoSigner:
    """AnonCreds sign with the keys of their definitions."""

    kid = "did:web:issuer.example#none"

    @property
    def key(self) -> PublicKey:
        raise AssertionError("asked for a key")

    async def sign(self, data: bytes) -> bytes:
        raise AssertionError("asked to sign")


@dataclass
class Tenant:
    identity: Identity
    party: Party

    @property
    def records(self) -> Repository:
        return self.party.records


class Ledger:
    """A method with identifiers of its own, in which the DIDs in `issuers` issue under what stands there."""

    def __init__(self) -> None:
        self.issuers: dict[str, str] = {}
        self._published: dict[str, Json] = {}

    def reads(self, identifier: str) -> bool:
        return is_unqualified(identifier)

    async def schema(self, identifier: str) -> Json:
        return self._published[identifier]

    async def credential_definition(self, identifier: str) -> Json:
        return self._published[identifier]

    async def revocation_registry_definition(self, identifier: str) -> Json:
        raise FormatError("not-published", identifier)

    async def revocation_status_list(self, identifier: str, timestamp: int) -> Json:
        raise FormatError("not-published", identifier)

    async def issuer_id(self, did: str) -> str:
        return self.issuers.get(did, "")

    async def publish_schema(self, schema: Json) -> str:
        return self._publish(f"{schema['issuerId']}:2:{schema['name']}:{schema['version']}", schema)

    async def publish_credential_definition(self, definition: Json) -> str:
        return self._publish(f"{definition['issuerId']}:3:CL:{len(self._published)}:{definition['tag']}", definition)

    def _publish(self, identifier: str, content: Json) -> str:
        self._published[identifier] = content
        return identifier


class World:
    """`now` is the clock, in milliseconds; `tampered` what a URL answers instead."""

    def __init__(self, storage: Storage, workers: Workers) -> None:
        self.storage, self.workers = storage, workers
        self.now = 1_800_000_000_000
        self.tampered: dict[str, bytes] = {}
        self._tenants: dict[str, Tenant] = {}
        self._numbers = iter(range(1, 1_000_000))
        self.ledger = Ledger()
        self.registry = Registries([WebRegistry(self.fetch, lambda: self.now / 1000), self.ledger])
        tails = TailsFiles(self.fetch, lambda: self.now / 1000)
        self.tools = Tools(workers, self.registry, tails, lambda: self.now, secrets.token_bytes)
        self.issuer = Issuer(workers, workers, self.registry, lambda: self.now, self._uuid, publishers=[self.ledger])
        self.credentials = AnonCreds(self.tools, self.issuer)
        self.proofs = AnonCredsProof(self.tools)

    def _uuid(self) -> str:
        return f"{next(self._numbers):032x}"

    def tenant(self) -> Tenant:
        uuid = secrets.token_hex(16)
        identity = Identity(uuid=uuid, did=f"did:web:issuer.example:api:identity:{uuid}", method="did:web")
        records = Repository(self.storage, secrets.token_hex(16), DataKey(secrets.token_bytes(32)))
        self._tenants[uuid] = Tenant(identity, Party(identity.did, NoSigner(), records))
        return self._tenants[uuid]

    async def fetch(self, url: str, maximum: int) -> bytes:
        """What the HTTP routes answer."""
        uuid, _, digest, *rest = url.removeprefix(HOST).split("/")
        records = self._tenants[uuid].records
        content = await published_resource(records, uuid, digest)
        if rest:
            status = await newest_status(records, digest, int(rest[1]))
            content = status.content if status else None
        content = self.tampered.get(url, content)
        if content is None or len(content) > maximum:
            raise FormatError("not-published", url)
        return content

    async def define(
        self, issuer: Tenant, attributes: Sequence[str], maximum: int = 0
    ) -> tuple[Schema, CredentialDefinition]:
        name = f"schema {next(self._numbers)}"
        schema = await self.issuer.create_schema(issuer.records, issuer.identity, name, "1.0", attributes)
        return schema, await self.issuer.create_definition(
            issuer.records, issuer.identity, schema.schema_id, "default", maximum
        )

    async def exchange(
        self, issuer: Tenant, holder: Tenant, definition: CredentialDefinition, values: Mapping[str, str]
    ) -> tuple[Issuing, Any]:
        """What the holder knows when the credential comes, and the credential."""
        content = {"credentialDefinitionId": definition.credential_definition_id, "attributes": values}
        preview = preview_of(content)
        offer = await self.credentials.offer(issuer.party, Issuing(), content)
        known = Issuing(offer=offer.value, preview=preview)
        request = await self.credentials.request(holder.party, known, None)
        known = replace(known, request=request.value)
        credential = await self.credentials.issue(issuer.party, known, None)
        return replace(known, secret=request.secret), credential.value

    async def issued(
        self, issuer: Tenant, holder: Tenant, definition: CredentialDefinition, values: Mapping[str, str]
    ) -> HeldCredential:
        known, credential = await self.exchange(issuer, holder, definition, values)
        received = await self.receive(holder, known, credential)
        assert received.verification.verified, received.verification.checks
        return replace(received.held, uuid=self._uuid())

    async def receive(self, holder: Tenant, known: Issuing, credential: Any) -> ReceivedCredential:
        return await self.credentials.receive(holder.party, known, credential)

    async def ask(self, verifier: Tenant, **asked: Any) -> Any:
        return (await self.proofs.request(verifier.party, None, asked)).value

    async def show(self, holder: Tenant, request: Any, *held: HeldCredential, **chosen: Any) -> Any:
        return (await self.proofs.present(holder.party, request, held, chosen or None)).value

    async def verify(self, verifier: Tenant, request: Any, presentation: Any) -> Verified:
        return await self.proofs.verify(verifier.party, request, presentation)


def failed(verified: Verified) -> set[str]:
    """Names of the checks that were not passed."""
    assert not verified.verification.verified
    return {check.name for check in verified.verification.checks if check.passed is not True}
