"""`/identity`: a tenant's DIDs and their public documents."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from tntcore.api.http import Body, Call, Response, Route, answer
from tntcore.api.json_schema import Words
from tntcore.api.views import Did, Entity, JsonObject, Name, Page, Timed, entity, listing, not_found, text
from tntcore.errors import Problem
from tntcore.identities.identities import METHODS, bind_did, create_identity
from tntcore.storage import queries
from tntcore.storage.commit import Unit
from tntcore.storage.records import Identity, StatusList
from tntcore.storage.repository import Repository
from tntcore.strict_json import write_json
from tntcore.tenancy.access import Scope

_MAX_DID = 2_000  # characters; a did:web is short, a did:peer with keys and endpoint has a few hundred


class NewIdentity(TypedDict, total=False):
    method: Annotated[str, "`did:web` (the default) or `did:key`", Words(examples=["did:web"], maxLength=50)]
    displayName: Name


class IdentityChange(TypedDict):
    displayName: NotRequired[Name]
    did: NotRequired[Annotated[Did, Words(maxLength=_MAX_DID)]]


class IdentityView(Entity):
    """An identity: a DID of yours."""

    status: Literal["DRAFT", "ACTIVE"]
    did: Did
    ownDid: Annotated[Did, "the DID that was created here"]
    external: Annotated[bool, "whether the keys of `did` are held outside the service"]
    method: str
    displayName: str
    isDefault: bool


async def create(call: Call) -> Response:
    """Creates an identity. Body: `{method?, displayName?}`.

    `method` is `did:web` (the default) or `did:key`. The service publishes the document of a `did:web`. A `did:key` is
    its own document: it can sign, but has no endpoint, so partners can reach it only through an invitation.
    """
    body = call.body
    method = "did:" + (text(body.get("method"), "method", maximum=50) or "did:web").removeprefix("did:")
    if method not in METHODS:
        raise Problem(400, "method-unsupported", f"method must be {' or '.join(METHODS)}.")
    name = text(body.get("displayName"), "displayName", maximum=200)
    return answer(_view(await create_identity(call.services, call.tenant, name, method=method, uuid=call.uuid7())), 201)


async def list_(call: Call) -> Response:
    return await listing(call, Identity, _view)


async def read(call: Call) -> Response:
    return answer(_view(await find_identity(call.tenant.records, call.arguments["id"])))


async def change(call: Call) -> Response:
    """Renames an identity, or binds a DID of your own to it. Body: `{displayName?, did?}`.

    `did` is a DID whose keys you hold yourself. Give the identity's `ownDid` to undo the binding.
    """
    identity = await find_identity(call.tenant.records, call.arguments["id"])
    body = call.body
    did = text(body["did"], "did", maximum=_MAX_DID, required=True) if "did" in body else ""
    if "displayName" in body or not did:
        identity.display_name = text(body.get("displayName"), "displayName", maximum=200, required=True)
    if did:
        return answer(_view(await bind_did(call.services, call.tenant, identity, did)))
    identity.updated_at = call.services.now()
    unit = Unit()
    unit.merge(identity.key, {"displayName": identity.display_name, "updatedAt": identity.updated_at})
    await call.tenant.records.commit(unit)
    return answer(_view(identity))


async def document(call: Call) -> Response:
    """Publishes the document of a did:web that was created here, even if its identity has another DID now, so that old
    signatures stay verifiable. A did:key has no such document: 404."""
    uuid = call.arguments["uuid"]
    owner = await call.services.lookups.find("identity", uuid)
    tenant = await call.services.tenants.get(owner.principal) if owner else None
    identity = await tenant.records.get(Identity, uuid) if tenant else None
    if identity is None:
        raise not_found(Identity, uuid)
    return Response(200, write_json(identity.document), "application/did+json")


async def status_list(call: Call) -> Response:
    """Publishes a status list, which says which credentials of an identity are revoked."""
    uuid, number = call.arguments["uuid"], call.arguments["number"]
    owner = await call.services.lookups.find("identity", uuid)
    tenant = await call.services.tenants.get(owner.principal) if owner else None
    found = await tenant.records.get(StatusList, f"{uuid}.{number}") if tenant else None
    if found is None:
        raise not_found(StatusList, number)
    return Response(200, found.signed, "application/vc")


async def find_identity(records: Repository, name: str) -> Identity:
    """Returns the identity with this uuid, DID or `ownDid`; the default identity if the name is empty. Raises `Problem`
    404."""
    if name and not name.startswith("did:"):
        identity = await records.get(Identity, name)
        if identity is None:
            raise not_found(Identity, name)
        return identity
    where = queries.identities_of_did(name) if name else queries.default_identity()
    hits = (await records.list(Identity, limit=1, where=where)).records
    if not hits:
        raise not_found(Identity, name or "default")
    return hits[0]


def _view(identity: Identity) -> dict[str, Any]:
    return entity(
        identity,
        did=identity.did,
        ownDid=identity.own,
        external=identity.is_external,
        method=identity.method,
        displayName=identity.display_name,
        isDefault=identity.is_default,
    )


ROUTES = [
    Route(
        "POST",
        "identity",
        create,
        scope=Scope.ADMIN,
        creates=True,
        summary="Create an identity",
        request=NewIdentity,
        answers={201: IdentityView},
        errors=("400 method-unsupported",),
    ),
    Route("GET", "identity", list_, summary="List identities", answers={200: Page[IdentityView]}, query=Timed),
    Route(
        "GET",
        "identity/{uuid}/did.json",
        document,
        "public",
        summary="Read the document of a did:web",
        answers={200: Body("application/did+json", JsonObject)},
        errors=("404 identity-unknown",),
    ),
    Route(
        "GET",
        "identity/{uuid}/status-list/{number}",
        status_list,
        "public",
        summary="Read a status list of revoked credentials",
        answers={200: Body("application/vc", JsonObject)},
        errors=("404 status-list-unknown",),
    ),
    Route(
        "GET",
        "identity/{id}",
        read,
        summary="Read an identity",
        answers={200: IdentityView},
        errors=("404 identity-unknown",),
    ),
    Route(
        "PUT",
        "identity/{id}",
        change,
        scope=Scope.ADMIN,
        summary="Rename an identity or bind a DID of your own",
        request=IdentityChange,
        answers={200: IdentityView},
        errors=(
            "400 did-unusable",
            "404 identity-unknown",
            "409 did-bound",
            "409 identity-changed",
            "502 did-unresolvable",
        ),
        example={"displayName": "Acme"},
    ),
]
