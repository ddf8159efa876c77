"""`/identity`: the DIDs that a principal acts as, and their public documents."""

from __future__ import annotations

from typing import Any

import orjson

from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.views import entity, listing, not_found, text
from tntcore.errors import Problem
from tntcore.identities import create_identity
from tntcore.records import Identity
from tntcore.storage.commit import Unit
from tntcore.storage.repository import Repository


async def create(call: Call) -> Response:
    """`{method?, displayName?}`"""
    body = call.request.object()
    method = text(body.get("method"), "method", maximum=50) or "did:web"
    if method not in ("did:web", "web"):
        raise Problem(400, "method-unsupported", "method has to be did:web.")
    name = text(body.get("displayName"), "displayName", maximum=200)
    return answer(_view(await create_identity(call.services, call.tenant, name)), 201)


async def list_(call: Call) -> Response:
    return await listing(call, Identity, _view)


async def read(call: Call) -> Response:
    return answer(_view(await find_identity(call.tenant.records, call.arguments["id"])))


async def change(call: Call) -> Response:
    """`{displayName}`"""
    identity = await find_identity(call.tenant.records, call.arguments["id"])
    body = call.request.object()
    if "did" in body:
        raise Problem(400, "did-immutable", "Binding a DID whose keys are held elsewhere is not supported.")
    identity.display_name = text(body.get("displayName"), "displayName", maximum=200, required=True)
    identity.updated_at = call.services.now()
    unit = Unit()
    unit.merge(identity.key, {"displayName": identity.display_name, "updatedAt": identity.updated_at})
    await call.tenant.records.commit(unit)
    return answer(_view(identity))


async def document(call: Call) -> Response:
    """The public did:web document."""
    uuid = call.arguments["uuid"]
    owner = await call.services.lookups.find("identity", uuid)
    tenant = await call.services.tenants.get(owner.principal) if owner else None
    identity = await tenant.records.get(Identity, uuid) if tenant else None
    if identity is None:
        raise not_found(Identity, uuid)
    return Response(200, orjson.dumps(identity.document), "application/did+json")


async def find_identity(records: Repository, name: str) -> Identity:
    """The identity by its uuid or DID; the default one for an empty name. Raises `Problem` 404."""
    if name and not name.startswith("did:"):
        identity = await records.get(Identity, name)
        if identity is None:
            raise not_found(Identity, name)
        return identity
    where, parameters = ("did eq @did", {"did": name}) if name else ("isDefault eq true", {})
    hits = (await records.list(Identity, limit=1, where=where, parameters=parameters)).records
    if not hits:
        raise not_found(Identity, name or "default")
    return hits[0]


def _view(identity: Identity) -> dict[str, Any]:
    return entity(
        identity,
        did=identity.did,
        method=identity.method,
        displayName=identity.display_name,
        isDefault=identity.is_default,
    )


ROUTES = [
    Route("POST", "identity", create, creates=True),
    Route("GET", "identity", list_),
    Route("GET", "identity/{uuid}/did.json", document, "public"),
    Route("GET", "identity/{id}", read),
    Route("PUT", "identity/{id}", change),
]
