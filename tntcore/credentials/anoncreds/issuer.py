"""The issuer's side of AnonCreds: schemas, credential definitions and revocation registries, published and stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from tntcore.credentials.anoncreds import work
from tntcore.credentials.anoncreds.registry import (
    MAX_ATTRIBUTES,
    Publisher,
    Registry,
    is_resource,
    is_revoked,
    resource_id,
    resource_url,
    same_name,
    split_resource,
)
from tntcore.credentials.formats import FormatError
from tntcore.errors import DidError, Problem, sentence
from tntcore.storage import queries
from tntcore.storage.commit import Unit
from tntcore.storage.records import CredentialDefinition, Identity, RevocationStatus, Schema
from tntcore.storage.repository import Repository
from tntcore.storage.retrying import retrying
from tntcore.strict_json import write_json
from tntcore.workers import Workers, WorkTimeout

DEFAULT_CREDENTIALS, MAX_CREDENTIALS = 1_000, 5_000  # of a revocation registry; 0.8 ms and 256 bytes each


@dataclass(frozen=True, slots=True)
class Private:
    """The private part of a credential definition, as JSON texts: its keys, the proof in its offers, the registry's
    key.
    """

    definition: str
    proof: str
    registry: str = ""

    def serialise(self) -> bytes:
        return write_json([self.definition, self.proof, self.registry])

    @staticmethod
    def deserialise(data: bytes) -> Private:
        return Private(*orjson.loads(data))


class Issuer:
    """Publishes definitions, and revokes credentials.

    Args:
        workers, slow_workers: the latter makes definitions and registries, which takes seconds.
        now: milliseconds since 1970. uuid7: the next identifier.
        publishers: methods besides this service's own; an identity issues by the first that knows it.
        allow_http: see `document_url`.
    """

    def __init__(
        self,
        workers: Workers,
        slow_workers: Workers,
        registry: Registry,
        now: Callable[[], int],
        uuid7: Callable[[], str],
        *,
        publishers: Sequence[Publisher] = (),
        allow_http: bool = False,
    ) -> None:
        self._workers = workers
        self._slow_workers = slow_workers
        self._registry = registry
        self._now = now
        self._uuid7 = uuid7
        self._publishers = publishers
        self._allow_http = allow_http

    async def create_schema(
        self,
        records: Repository,
        identity: Identity,
        name: str,
        version: str,
        attributes: Sequence[str],
        *,
        uuid: str = "",
    ) -> Schema:
        """Publishes a schema. Raises `Problem` 400, or 409 if the identity has published it before."""
        issuer, publisher = await self._method(identity)
        if not 0 < len(attributes) <= MAX_ATTRIBUTES or len({same_name(text) for text in attributes}) < len(attributes):
            raise Problem(
                400,
                "attributes-invalid",
                f"attributes must be a list of 1 to {MAX_ATTRIBUTES} names that differ in more than case and spaces.",
            )
        content = {"issuerId": issuer, "name": name, "version": version, "attrNames": list(attributes)}
        if publisher is not None:
            schema_id = await publisher.publish_schema(content)
        else:
            schema_id = await self._publish(records, identity, write_json(content))
        now = self._now()
        schema = Schema(
            uuid=uuid or self._uuid7(),
            identity_uuid=identity.uuid,
            issuer_id=issuer,
            schema_id=schema_id,
            name=name,
            version=version,
            attributes=list(attributes),
            created_at=now,
            updated_at=now,
        )
        before = await records.list(Schema, limit=1, where=queries.schemas(schema.schema_id))
        if before.records and before.records[0].uuid == schema.uuid:
            return before.records[0]
        if before.records:
            raise Problem(
                409,
                "schema-exists",
                "This identity has already published this schema: "
                f"{before.records[0].uuid}. Use that one, or another version.",
            )
        unit = Unit()
        unit.create(schema)
        return await records.make(unit, schema)

    async def create_definition(
        self,
        records: Repository,
        identity: Identity,
        schema_id: str,
        tag: str,
        max_credentials: int,
        *,
        uuid: str = "",
    ) -> CredentialDefinition:
        """Publishes a credential definition for a schema of any issuer; takes seconds.

        Args:
            uuid: its own, if an earlier attempt of the same call may have created it; "" for any.
            max_credentials: of its revocation registry; 0 for credentials that cannot be revoked.

        Raises:
            Problem: 400 `schema-unusable`, `revocation-unsupported`, 503 if it took too long or the schema cannot be
                fetched at the moment.
        """
        if uuid and (made := await records.get(CredentialDefinition, uuid)) is not None:
            return made
        issuer, publisher = await self._method(identity)
        if publisher is not None and max_credentials:
            raise Problem(
                400,
                "revocation-unsupported",
                f"Credentials of {issuer} cannot be revoked. Leave supportRevocation out.",
            )
        schema = await self._schema(schema_id)
        now = self._now()
        record = CredentialDefinition(
            uuid=uuid or self._uuid7(),
            identity_uuid=identity.uuid,
            issuer_id=issuer,
            schema_id=schema_id,
            schema_name=schema["name"],
            tag=tag,
            attributes=list(schema["attrNames"]),
            max_credentials=max_credentials,
            created_at=now,
            updated_at=now,
        )
        unit = Unit()
        try:
            private = await self._publish_definition(records, identity, record, schema, publisher, unit)
        except WorkTimeout:
            raise Problem(
                503, "computation-too-long", "The computation took too long. Try again.", retry_after=5
            ) from None
        record.private = await records.put_body(record.key, records.seal(private.serialise(), record.key))
        unit.create(record)
        return await records.make(unit, record)

    async def _schema(self, schema_id: str) -> Mapping[str, Any]:
        """Returns a schema of any issuer. Raises `Problem` 400 or 503."""
        try:
            return await self._registry.schema(schema_id)
        except FormatError as error:
            raise Problem(400, "schema-unusable", sentence(error.detail)) from None
        except DidError as error:
            raise Problem(
                503, "schema-unreachable", f"{sentence(error.detail)} Try again later.", retry_after=30
            ) from None

    async def _publish_definition(
        self,
        records: Repository,
        identity: Identity,
        record: CredentialDefinition,
        schema: Mapping[str, Any],
        publisher: Publisher | None,
        unit: Unit,
    ) -> Private:
        """Computes and publishes the definition, and its revocation registry if it has one; names them in the record.
        Returns the private parts. Raises `WorkTimeout`.
        """
        public, definition, proof = await self._slow_workers.run(
            work.define,
            record.schema_id,
            work.dumps(schema),
            record.issuer_id,
            record.tag,
            record.max_credentials > 0,
        )
        private = Private(definition, proof)
        if publisher is not None:
            record.credential_definition_id = await publisher.publish_credential_definition(orjson.loads(public))
        else:
            record.credential_definition_id = await self._publish(records, identity, public.encode())
        if record.max_credentials:
            private = await self._create_registry(records, identity, record, public, private, unit)
        return private

    async def _create_registry(
        self,
        records: Repository,
        identity: Identity,
        record: CredentialDefinition,
        definition: str,
        private: Private,
        unit: Unit,
    ) -> Private:
        made, registry_private, tails = await self._slow_workers.run(
            work.define_registry,
            record.credential_definition_id,
            definition,
            identity.did,
            record.max_credentials,
        )
        registry = orjson.loads(made)
        tails_id = await self._publish(records, identity, tails)
        registry["value"]["tailsLocation"] = resource_url(tails_id, allow_http=self._allow_http)
        content = write_json(registry)
        record.revocation_registry_id = await self._publish(records, identity, content)
        timestamp = self._now() // 1000
        status = await self._workers.run(
            work.first_status,
            definition,
            record.revocation_registry_id,
            content.decode(),
            registry_private,
            identity.did,
            timestamp,
        )
        _add_status(unit, record, status, timestamp)
        return Private(private.definition, private.proof, registry_private)

    async def find(self, records: Repository, name: str) -> CredentialDefinition:
        """Returns the tenant's own definition, by uuid or identifier. Raises `Problem` 404."""
        found = await records.get(CredentialDefinition, name)
        if found is None:
            hits = await records.list(CredentialDefinition, limit=1, where=queries.credential_definitions(name))
            found = hits.records[0] if hits.records else None
        if found is None:
            raise Problem(
                404,
                "credential-definition-unknown",
                f"There is no credential definition {name[:200]!r}. GET /api/credential-definition lists yours.",
            )
        return found

    async def private(self, records: Repository, definition: CredentialDefinition) -> Private:
        sealed = definition.private or await records.stored_body(definition.key)
        return Private.deserialise(records.open(sealed, definition.key))

    async def public(self, records: Repository, identifier: str) -> str:
        """Returns the credential definition or revocation registry that the tenant published under an identifier."""
        if not is_resource(identifier):
            return work.dumps(await self._registry.credential_definition(identifier))
        did, digest = split_resource(identifier)
        content = await records.published(_name(did.rpartition(":")[2], digest))
        if content is None:
            raise FormatError("not-published", f"{identifier} is not published here")
        return content.decode()

    async def revocation(
        self, records: Repository, definition: CredentialDefinition, private: Private
    ) -> tuple[str, str, str, int] | None:
        """Returns the data that makes a credential revocable, and takes its number for good. None if there is no
        registry.

        Raises:
            Problem: 409 `revocation-registry-full`.
        """
        if not definition.revocation_registry_id:
            return None
        index = await self._take_number(records, definition.uuid)
        identifier = definition.revocation_registry_id
        status = await newest_status(records, split_resource(identifier)[1], self._now() // 1000)
        if status is None:
            raise FormatError("not-published", "the revocation registry has no status list")
        return await self.public(records, identifier), private.registry, status.content.decode(), index

    async def _take_number(self, records: Repository, uuid: str) -> int:
        async def attempt() -> int:
            definition = await self.find(records, uuid)
            if definition.issued >= definition.max_credentials:
                raise Problem(
                    409,
                    "revocation-registry-full",
                    f"All {definition.max_credentials} credentials are issued. Create another credential definition.",
                )
            unit = Unit()
            unit.merge(definition.key, {"issued": definition.issued + 1}, definition.etag)
            await records.commit(unit)
            return definition.issued + 1

        busy = Problem(503, "busy", "Too many credentials are being issued at the same time. Try again.", retry_after=1)
        return await retrying(attempt, contended=busy)

    async def revoke(self, records: Repository, registry_id: str, index: int) -> None:
        """Publishes that a credential is revoked. Does nothing if it is revoked already.

        Args:
            registry_id, index: `rev_reg_id` of the credential, and its number (`revocation_of`).

        Raises:
            Problem: 409 if the registry is not the tenant's, or has issued no such number.
        """

        async def attempt() -> None:
            hits = await records.list(
                CredentialDefinition, limit=1, where=queries.definitions_with_registry(registry_id)
            )
            if not hits.records or not 0 < index <= hits.records[0].issued:
                raise Problem(
                    409, "credential-not-revocable", "This registry issued no such credential. Check the credential."
                )
            definition = hits.records[0]
            # Another instance's clock may be ahead.
            status = await newest_status(records, split_resource(registry_id)[1], 10**10)
            if status is None:
                raise Problem(409, "credential-not-revocable", "The revocation registry has no status list.")
            before = orjson.loads(status.content)
            if is_revoked(before, index):
                return
            timestamp = max(self._now() // 1000, before["timestamp"] + 1)
            after = await self._workers.run(
                work.revoke,
                await self.public(records, definition.credential_definition_id),
                await self.public(records, registry_id),
                (await self.private(records, definition)).registry,
                status.content.decode(),
                index,
                timestamp,
            )
            unit = Unit()
            _add_status(unit, definition, after, timestamp)
            # Two revocations at once would each publish a list without the other's.
            unit.merge(definition.key, {"updatedAt": self._now()}, definition.etag)
            await records.commit(unit)

        text = "Too many credentials are being revoked at the same time. Try again."
        await retrying(attempt, contended=Problem(503, "busy", text, retry_after=1))

    async def _method(self, identity: Identity) -> tuple[str, Publisher | None]:
        """Returns the issuer id of an identity, and the method that publishes; None for this service's. Raises
        `Problem` 400.
        """
        for publisher in self._publishers:
            issuer = await publisher.issuer_id(identity.did)
            if issuer:
                return issuer, publisher
        _check_hosted(identity)
        return identity.did, None

    async def _publish(self, records: Repository, identity: Identity, content: bytes) -> str:
        identifier = resource_id(identity.did, content)
        await records.publish(_name(identity.uuid, split_resource(identifier)[1]), content)
        return identifier


def revocation_of(credential: Mapping[str, Any]) -> tuple[str, int] | None:
    """Returns the registry and number of an issued credential, for `Issuer.revoke`. None if it is not revocable."""
    part = (credential.get("signature") or {}).get("r_credential")
    registry = credential.get("rev_reg_id")
    if not isinstance(part, dict) or not isinstance(registry, str) or not isinstance(part.get("i"), int):
        return None
    return registry, part["i"]


async def newest_status(records: Repository, digest: str, timestamp: int) -> RevocationStatus | None:
    """Returns the status list of a registry in force at a time (seconds since 1970)."""
    start = RevocationStatus.uuid_at(digest, timestamp)
    hits = await records.list(RevocationStatus, limit=1, under=f"{digest}.", start=start)
    return hits.records[0] if hits.records else None


async def published_resource(records: Repository, identity_uuid: str, digest: str) -> bytes | None:
    """Returns the public resource that the identity published under the digest."""
    return await records.published(_name(identity_uuid, digest))


def _name(identity_uuid: str, digest: str) -> str:
    return f"{identity_uuid}.{digest}"


def _add_status(unit: Unit, definition: CredentialDefinition, status: str, timestamp: int) -> None:
    uuid = RevocationStatus.uuid_at(split_resource(definition.revocation_registry_id)[1], timestamp)
    moment = timestamp * 1000
    row = RevocationStatus(uuid=uuid, content=status.encode(), created_at=moment, updated_at=moment)
    unit.create(row)


def _check_hosted(identity: Identity) -> None:
    if not identity.is_reachable:
        raise Problem(400, "identity-unsuitable", "identityId must be an identity with a did:web of this service.")
