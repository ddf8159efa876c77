"""`/schema` and `/credential-definition`: a tenant's AnonCreds schemas and definitions, and the public resources under
their identifiers."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from tntcore.api.given import uuid_or_other
from tntcore.api.http import Body, Call, Response, Route, answer
from tntcore.api.identities import find_identity
from tntcore.api.json_schema import Code, Reads, Words
from tntcore.api.views import Did, Entity, JsonObject, Page, Timed, Uuid, UuidOrDid, entity, found, listing, text
from tntcore.credentials.anoncreds.issuer import (
    DEFAULT_CREDENTIALS,
    MAX_CREDENTIALS,
    Issuer,
    newest_status,
    published_resource,
)
from tntcore.errors import Problem
from tntcore.storage.records import CredentialDefinition, Schema
from tntcore.storage.repository import Repository

_DIGEST = re.compile("[0-9a-f]{64}")
_TIME = re.compile("[0-9]{1,10}")
# The resource under an identifier never changes.
_FOR_EVER = {"cache-control": "public, max-age=31536000, immutable"}


Resource = Annotated[str, Words(examples=["did:web:acme.example/resources/5f0e..."])]
Label = Annotated[str, Words(minLength=1, maxLength=200, examples=["1.0"])]
IdentityId = Annotated[UuidOrDid, "of the issuer; by default the default identity"]


class NewSchema(TypedDict):
    name: Label
    version: Label
    attributes: Annotated[
        list[Annotated[str, Words(minLength=1, maxLength=256, examples=["name"])]], Code("attributes-invalid")
    ]
    identityId: NotRequired[IdentityId]


class SchemaView(Entity):
    """A published AnonCreds schema."""

    status: Literal["ACTIVE"]
    schemaId: Resource
    issuerId: Did
    identityUuid: Uuid
    name: str
    version: str
    attributes: list[str]


class NewCredentialDefinition(TypedDict):
    schemaId: Annotated[str, "the uuid of your schema, or the identifier of any schema", Reads(uuid_or_other)]
    tag: NotRequired[Label]
    supportRevocation: NotRequired[bool]
    maxCredentials: NotRequired[Annotated[int, Words(minimum=1, maximum=MAX_CREDENTIALS)]]
    identityId: NotRequired[IdentityId]


class CredentialDefinitionView(Entity):
    """A published AnonCreds credential definition."""

    status: Literal["ACTIVE"]
    credentialDefinitionId: Resource
    schemaId: Resource
    issuerId: Did
    identityUuid: Uuid
    tag: str
    attributes: list[str]
    supportRevocation: bool
    maxCredentials: int | None
    issuedCredentials: int | None
    revocationRegistryId: str | None


class SchemaRoutes:
    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._busy: set[str] = set()
        self.routes = [
            Route(
                "POST",
                "schema",
                self.create_schema,
                creates=True,
                summary="Publish a schema",
                request=NewSchema,
                answers={201: SchemaView},
                errors=(
                    "400 attributes-invalid",
                    "400 identity-unsuitable",
                    "404 identity-unknown",
                    "409 schema-exists",
                ),
            ),
            Route("GET", "schema", list_schemas, summary="List schemas", answers={200: Page[SchemaView]}, query=Timed),
            Route(
                "GET",
                "schema/{uuid}",
                read_schema,
                summary="Read a schema",
                answers={200: SchemaView},
                errors=("404 schema-unknown",),
            ),
            Route(
                "POST",
                "credential-definition",
                self.create_definition,
                creates=True,
                summary="Publish a credential definition",
                request=NewCredentialDefinition,
                answers={201: CredentialDefinitionView},
                errors=(
                    "400 identity-unsuitable",
                    "400 max-credentials-invalid",
                    "400 revocation-unsupported",
                    "400 schema-unusable",
                    "400 support-revocation-invalid",
                    "404 identity-unknown",
                    "429 definition-under-way",
                    "503 computation-too-long",
                    "503 schema-unreachable",
                ),
                example={"schemaId": "019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1b"},
            ),
            Route(
                "GET",
                "credential-definition",
                list_definitions,
                summary="List credential definitions",
                answers={200: Page[CredentialDefinitionView]},
                query=Timed,
            ),
            Route(
                "GET",
                "credential-definition/{uuid}",
                read_definition,
                summary="Read a credential definition",
                answers={200: CredentialDefinitionView},
                errors=("404 credential-definition-unknown",),
            ),
            Route(
                "GET",
                "identity/{uuid}/resources/{digest}",
                resource,
                "public",
                summary="Read the public resource of an identifier",
                answers={200: Body("*/*")},
                errors=("404 resource-unknown",),
            ),
            Route(
                "GET",
                "identity/{uuid}/resources/{digest}/status/{time}",
                status,
                "public",
                summary="Read the status list of a revocation registry",
                answers={200: JsonObject},
                errors=("404 status-unknown",),
            ),
        ]

    async def create_schema(self, call: Call) -> Response:
        """Publishes an AnonCreds schema. Body: `{name, version, attributes: [string], identityId?}`."""
        body = call.body
        identity = await find_identity(call.tenant.records, text(body.get("identityId"), "identityId", maximum=4000))
        attributes = body.get("attributes")
        if not isinstance(attributes, list) or not all(
            isinstance(name, str) and 0 < len(name) <= 256 and name.isprintable() for name in attributes
        ):
            raise Problem(400, "attributes-invalid", "attributes must be a list of names of up to 256 characters.")
        schema = await self._issuer.create_schema(
            call.tenant.records,
            identity,
            _name(body, "name"),
            _name(body, "version"),
            attributes,
            uuid=call.uuid7(),
        )
        return answer(_schema_view(schema), 201)

    async def create_definition(self, call: Call) -> Response:
        """Publishes a credential definition, which takes a few seconds.

        Body: `{schemaId, tag?, supportRevocation?, maxCredentials?, identityId?}`. `schemaId` is the uuid of your
        schema, or the identifier of any schema.
        """
        body, records = call.body, call.tenant.records
        identity = await find_identity(records, text(body.get("identityId"), "identityId", maximum=4000))
        schema_id = text(body.get("schemaId"), "schemaId", maximum=2000, required=True)
        own = await records.get(Schema, schema_id)
        tag = _name(body, "tag") if body.get("tag") is not None else "default"
        maximum = _maximum(body)
        if call.tenant.uuid in self._busy:
            # Many definitions would take minutes of CPU time, and other tenants' credentials would wait.
            raise Problem(
                429,
                "definition-under-way",
                "Another credential definition of yours is being created. Retry when it is finished.",
                retry_after=10,
            )
        self._busy.add(call.tenant.uuid)
        try:
            made = await self._issuer.create_definition(
                records, identity, own.schema_id if own else schema_id, tag, maximum, uuid=call.uuid7()
            )
        finally:
            self._busy.discard(call.tenant.uuid)
        return answer(_definition_view(made), 201)


async def list_schemas(call: Call) -> Response:
    return await listing(call, Schema, _schema_view)


async def read_schema(call: Call) -> Response:
    return answer(_schema_view(await found(call.tenant.records, Schema, call.arguments["uuid"])))


async def list_definitions(call: Call) -> Response:
    return await listing(call, CredentialDefinition, _definition_view)


async def read_definition(call: Call) -> Response:
    return answer(_definition_view(await found(call.tenant.records, CredentialDefinition, call.arguments["uuid"])))


async def resource(call: Call) -> Response:
    """Publishes the schema, credential definition, revocation registry or tails file of an identifier."""
    digest = call.arguments["digest"]
    records = await _publisher(call)
    content = None
    if records is not None and _DIGEST.fullmatch(digest):
        content = await published_resource(records, call.arguments["uuid"], digest)
    if content is None:
        raise Problem(404, "resource-unknown", "Nothing is published under this identifier. Check the identifier.")
    is_json = content.startswith(b"{")
    return Response(200, content, "application/json" if is_json else "application/octet-stream", _FOR_EVER)


async def status(call: Call) -> Response:
    """Publishes the status list of a revocation registry that was valid at a time (seconds since 1970)."""
    digest, time = call.arguments["digest"], call.arguments["time"]
    records = await _publisher(call)
    newest = None
    if records is not None and _DIGEST.fullmatch(digest) and _TIME.fullmatch(time):
        newest = await newest_status(records, digest, int(time))
    if newest is None:
        raise Problem(
            404,
            "status-unknown",
            "There is no such revocation registry, or it did not exist at this time. Check identifier and time.",
        )
    return Response(200, newest.content)


async def _publisher(call: Call) -> Repository | None:
    owner = await call.services.lookups.find("identity", call.arguments["uuid"])
    tenant = await call.services.tenants.get(owner.principal) if owner else None
    return tenant.records if tenant else None


def _name(body: dict[str, Any], name: str) -> str:
    given = text(body.get(name), name, maximum=200, required=True)
    if not given.isprintable():
        raise Problem(400, f"{name}-invalid", f"{name} must be a string of printable characters.")
    return given


def _maximum(body: dict[str, Any]) -> int:
    """Returns the number of revocable credentials; 0 for none."""
    revocable, given = body.get("supportRevocation", False), body.get("maxCredentials")
    if not isinstance(revocable, bool):
        raise Problem(400, "support-revocation-invalid", "supportRevocation must be true or false.")
    if given is None:
        return DEFAULT_CREDENTIALS if revocable else 0
    if not revocable or not isinstance(given, int) or not 0 < given <= MAX_CREDENTIALS or isinstance(given, bool):
        raise Problem(
            400,
            "max-credentials-invalid",
            f"maxCredentials must be a number from 1 to {MAX_CREDENTIALS}, and needs supportRevocation.",
        )
    return given


def _schema_view(schema: Schema) -> dict[str, Any]:
    return entity(
        schema,
        schemaId=schema.schema_id,
        issuerId=schema.issuer_id,
        identityUuid=schema.identity_uuid,
        name=schema.name,
        version=schema.version,
        attributes=schema.attributes,
    )


def _definition_view(definition: CredentialDefinition) -> dict[str, Any]:
    return entity(
        definition,
        credentialDefinitionId=definition.credential_definition_id,
        schemaId=definition.schema_id,
        issuerId=definition.issuer_id,
        identityUuid=definition.identity_uuid,
        tag=definition.tag,
        attributes=definition.attributes,
        supportRevocation=bool(definition.max_credentials),
        maxCredentials=definition.max_credentials or None,
        issuedCredentials=definition.issued if definition.max_credentials else None,
        revocationRegistryId=definition.revocation_registry_id or None,
    )
