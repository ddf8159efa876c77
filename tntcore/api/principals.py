"""`/principal`: the operator registers tenants."""

from __future__ import annotations

import base64

from tntcore.api.http import KEY_HEADER, Call, Response, Route, answer, hash_key
from tntcore.api.views import entity, not_found, text
from tntcore.errors import Problem
from tntcore.identities import create_identity
from tntcore.records import ApiToken, Identity, Principal
from tntcore.services import Services
from tntcore.storage.commit import Changed, Unit
from tntcore.storage.lookups import Found
from tntcore.tenants import Tenant


async def create(call: Call) -> Response:
    """`{displayName}`: a tenant with a default identity and its first key, which is shown this once."""
    display_name = text(call.request.object().get("displayName"), "displayName", maximum=200, required=True)
    services = call.services
    now = services.now()
    uuid = services.uuid7()
    wrapped = await services.custody.create(uuid)
    principal = Principal(
        uuid=uuid,
        display_name=display_name,
        data_key=wrapped.ciphertext,
        data_key_version=wrapped.version,
        created_at=now,
        updated_at=now,
    )
    unit = Unit()
    unit.create(principal.key, principal.values())
    await services.storage.committer.commit(uuid, unit)
    tenant = await services.tenants.get(uuid)
    if tenant is None:
        raise Problem(500, "internal", "The principal could not be read back. Try again.")
    identity = await create_identity(services, tenant, display_name, is_default=True)
    key = await create_token(services, tenant, "first")
    return answer(
        {
            **_view(principal),
            "identity": {"uuid": identity.uuid, "did": identity.did},
            "account": display_name,
            "principalUuid": uuid,
            "headers": {KEY_HEADER: key},
        },
        201,
    )


async def read(call: Call) -> Response:
    return answer(_view(await _principal(call)))


async def delete(call: Call) -> Response:
    """Deletes a tenant: its data key is destroyed first, and all that was sealed under it with it."""
    services = call.services
    principal = await _principal(call)
    tenant = await services.tenants.get(principal.uuid)
    unit = Unit()
    unit.merge(
        principal.key,
        {"status": "DELETED", "dataKey": b"", "dataKeyVersion": "", "updatedAt": services.now()},
        principal.etag,
    )
    try:
        await services.storage.committer.commit(principal.uuid, unit)
    except Changed:
        raise Problem(409, "principal-changed", "The principal was changed meanwhile. Try again.") from None
    services.tenants.forget(principal.uuid)
    if tenant is not None:
        for token in (await tenant.records.list(ApiToken, limit=1000)).records:
            await services.lookups.remove("token", token.hash, token.uuid)
        for identity in (await tenant.records.list(Identity, limit=1000)).records:
            await services.lookups.remove("identity", identity.uuid, identity.uuid)
    return Response(204, content_type="")


async def create_token(services: Services, tenant: Tenant, name: str) -> str:
    """A new subscription key; its text is stored nowhere."""
    key = "tnt_" + base64.urlsafe_b64encode(services.random(32)).decode().rstrip("=")
    now = services.now()
    token = ApiToken(uuid=services.uuid7(), name=name, hash=hash_key(key), created_at=now, updated_at=now)
    await services.lookups.add("token", token.hash, Found(tenant.uuid, "token", token.uuid))
    unit = Unit()
    unit.create(token.key, token.values())
    await tenant.records.commit(unit)
    return key


async def _principal(call: Call) -> Principal:
    uuid = call.arguments["uuid"]
    row = await call.services.storage.records.get(uuid, Principal.row_key(uuid))
    if row is None:
        raise not_found(Principal, uuid)
    return Principal.read(row)


def _view(principal: Principal) -> dict[str, object]:
    return entity(principal, displayName=principal.display_name)


ROUTES = [
    Route("POST", "principal", create, "operator"),
    Route("GET", "principal/{uuid}", read, "operator"),
    Route("DELETE", "principal/{uuid}", delete, "operator"),
]
