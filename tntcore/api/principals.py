"""`/principal`: the operator registers tenants."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import Annotated, Any, Literal, NotRequired, TypedDict, TypeVar

import orjson

from tntcore.api.audit import ERRORS, NO_EFFECT, QUERY, AuditView, into, operating, page
from tntcore.api.http import KEY_HEADER, Call, Response, Route, answer, hash_key
from tntcore.api.views import Did, Entity, Name, Page, Uuid, entity, not_found, text
from tntcore.errors import Problem
from tntcore.identities.identities import create_identity
from tntcore.maintenance import key_rotation
from tntcore.maintenance.retention import GONE, remember
from tntcore.services import Services
from tntcore.storage.commit import Changed, Unit
from tntcore.storage.lookups import Found
from tntcore.storage.records import END, ApiToken, Audit, Identity, Principal, Record
from tntcore.tenancy.access import Role
from tntcore.tenancy.operators import HOME
from tntcore.tenancy.tenants import PRINCIPALS, Tenant

KeyHeader = TypedDict("KeyHeader", {"tnt-subscription-key": str})
R = TypeVar("R", bound=Record)
_LIMITS = ("storedBytes", "messagesPerMinute")


class NewPrincipal(TypedDict):
    displayName: Name


class Limits(TypedDict, total=False):
    """0 is no limit; what is left out, or null, is as the service is set."""

    storedBytes: int | None
    messagesPerMinute: int | None


class PrincipalChange(TypedDict):
    displayName: NotRequired[Name]
    limits: NotRequired[Limits]


class PrincipalView(Entity):
    """A tenant: one company."""

    status: Literal["ACTIVE", "DELETED"]
    displayName: str
    limits: Limits
    storedBytes: Annotated[int, "what it keeps"]


class Rewrap(TypedDict):
    start: NotRequired[Annotated[str, "`next` of the call before"]]


class RewrappedView(TypedDict):
    rewrapped: int
    unchanged: int
    failed: Annotated[dict[str, str], "what was wrong, by the tenant's uuid"]
    next: str | None


class _FirstIdentity(TypedDict):
    uuid: Uuid
    did: Did


class PrincipalMade(PrincipalView):
    """A tenant with its first key, shown this once, as the header that takes it."""

    identity: _FirstIdentity
    account: str
    principalUuid: Uuid
    headers: KeyHeader


async def create(call: Call) -> Response:
    """`{displayName}`: a tenant with a default identity and its first key, which is shown this once."""
    display_name = text(call.request.object().get("displayName"), "displayName", maximum=200, required=True)
    services = call.services
    uuid, identity_uuid, token_uuid = call.uuid7(), call.uuid7(), call.uuid7()
    async with operating(call, "tenant.registered", uuid, displayName=display_name) as record:
        principal = await _registered(call, uuid, display_name, record)
        tenant = await services.tenants.get(uuid)
        if tenant is None:
            raise Problem(500, "internal", "The principal could not be read back. Try again.")
        identity = await tenant.records.get(Identity, identity_uuid) if call.chance is not None else None
        if identity is None:
            identity = await create_identity(services, tenant, display_name, is_default=True, uuid=identity_uuid)
        key = await create_token(services, tenant, "first", token_uuid, Unit())
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


async def _registered(call: Call, uuid: str, display_name: str, record: Audit) -> Principal:
    """The tenant's own row. An earlier try of the same call may have written it."""
    services, now = call.services, call.services.now()
    if call.chance is not None and call.chance.again:
        row = await services.storage.records.get(uuid, Principal.row_key(uuid))
        if row is not None:
            return Principal.read(row)
    wrapped = await services.custody.create(uuid)
    await services.storage.lookups.put(PRINCIPALS, uuid, {"createdAt": now})
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
    await into(call, unit, record)
    await services.storage.committer.commit(uuid, unit)
    return principal


async def read(call: Call) -> Response:
    return answer(_view(await _principal(call)))


async def change(call: Call) -> Response:
    """`{displayName?, limits?}`. `limits` is `{storedBytes?, messagesPerMinute?}`: whole numbers, 0 for no limit. What
    is left out, or null, is as the service is set."""
    body = call.request.object()
    principal = await _principal(call)
    if principal.status != "ACTIVE":
        raise not_found(Principal, principal.uuid)
    if "displayName" in body:
        principal.display_name = text(body["displayName"], "displayName", maximum=200, required=True)
    if "limits" in body:
        principal.limits = _read_limits(body["limits"])
    principal.updated_at = call.services.now()
    unit = Unit()
    unit.merge(
        principal.key,
        {
            "displayName": principal.display_name,
            "limits": orjson.dumps(principal.limits).decode(),
            "updatedAt": principal.updated_at,
        },
        principal.etag,
    )
    changed = {name: body[name] for name in ("displayName", "limits") if name in body}
    async with operating(call, "tenant.changed", principal.uuid, **changed) as record:
        await into(call, unit, record)
        await call.services.storage.committer.commit(principal.uuid, unit)
    call.services.tenants.forget(principal.uuid)
    return answer(_view(principal))


def _read_limits(value: Any) -> dict[str, int]:
    """Raises `Problem` 400."""
    if not isinstance(value, dict) or value.keys() - _LIMITS:
        raise Problem(400, "limits-invalid", f"limits has to be an object of {', '.join(_LIMITS)}.")
    limits = {name: limit for name, limit in value.items() if limit is not None}
    for name, limit in limits.items():
        if type(limit) is not int or not 0 <= limit < 10**15:
            raise Problem(400, "limits-invalid", f"limits.{name} has to be a whole number, 0 for no limit.")
    return limits


async def recount(call: Call) -> Response:
    """Counts what the principal keeps anew. It reads all of it: a minute or more for a million messages."""
    principal = await _principal(call)
    async with operating(call, "tenant.recounted", principal.uuid):
        await call.services.usage.recount(principal.uuid)
    call.services.tenants.forget(principal.uuid)
    return answer(_view(await _principal(call)))


async def delete(call: Call) -> Response:
    """Deletes a tenant: its data key is destroyed first, and all that was sealed under it with it. The sweeper deletes
    its rows and bodies."""
    services = call.services
    principal = await _principal(call)
    if principal.status == "DELETED":
        # What an earlier call may have left undone is done again; it is no act of its own.
        await _forget(call, principal)
        return Response(204, content_type="")
    await remember(services, GONE, principal.uuid)
    unit = Unit()
    unit.merge(
        principal.key,
        {"status": "DELETED", "dataKey": b"", "dataKeyVersion": "", "updatedAt": services.now()},
        principal.etag,
    )
    async with operating(call, "tenant.deleted", principal.uuid, displayName=principal.display_name) as record:
        await into(call, unit, record)
        try:
            await services.storage.committer.commit(principal.uuid, unit)
        except Changed:
            raise Problem(409, "principal-changed", "The principal was changed meanwhile. Try again.") from None
        await _forget(call, principal)
    return Response(204, content_type="")


async def _forget(call: Call, principal: Principal) -> None:
    """Removes what finds a tenant that is deleted."""
    services = call.services
    services.tenants.forget(principal.uuid)
    await services.storage.lookups.delete(PRINCIPALS, principal.uuid)
    tokens = await _all(services, principal.uuid, ApiToken)
    for token in tokens:
        await services.lookups.remove("token", token.hash, token.uuid)
    for identity in await _all(services, principal.uuid, Identity):
        await services.lookups.remove("identity", identity.uuid, identity.uuid)


async def _all(services: Services, principal: str, kind: type[R]) -> list[R]:
    """A tenant's records of a kind, of which nothing sealed is needed: its data key is gone."""
    page = await services.storage.records.scan(principal, kind.row_key(""), kind.KIND + END, limit=1000)
    return [kind.read(row) for row in page.rows]


async def rewrap(call: Call) -> Response:
    """`{start?}`: wraps the data keys of the next tenants under the current version of the master key. Answers
    `{rewrapped, unchanged, failed: {uuid: code}, next}`; `next` is the `start` of the next call, null at the end."""
    start = text(call.request.object().get("start"), "start", maximum=200) if call.request.body else ""
    services = call.services
    async with operating(call, "data-keys.rewrapped", start=start) as record:
        done = await key_rotation.rewrap(services.storage, services.custody, start)
        record.details |= {"rewrapped": done.rewrapped, "unchanged": done.unchanged, "failed": len(done.failed)}
        if not done.rewrapped:
            record.status = NO_EFFECT
    return answer(asdict(done))


async def audit(call: Call) -> Response:
    """What was done by the tenant's keys, and to the tenant, the newest first; what the tenant sees at `GET /audit`."""
    return await page(call, (await _principal(call)).uuid)


async def create_token(services: Services, tenant: Tenant, name: str, uuid: str, unit: Unit) -> str:
    """A new subscription key; its text is stored nowhere.

    Args:
        uuid: its record's. An earlier try of the same call may have made it: nobody got that key.
        unit: what is committed with it.
    """
    key = "tnt_" + base64.urlsafe_b64encode(services.random(32)).decode().rstrip("=")
    now = services.now()
    token = ApiToken(uuid=uuid, name=name, hash=hash_key(key), created_at=now, updated_at=now)
    await services.lookups.add("token", token.hash, Found(tenant.uuid, "token", token.uuid))
    unit.upsert(token.key, token.values())
    await tenant.records.commit(unit)
    tenant.token_changed(uuid)
    return key


async def _principal(call: Call) -> Principal:
    uuid = call.arguments["uuid"]
    row = await call.services.storage.records.get(uuid, Principal.row_key(uuid)) if uuid != HOME else None
    if row is None:
        raise not_found(Principal, uuid)
    return Principal.read(row)


def _view(principal: Principal) -> dict[str, object]:
    return entity(
        principal,
        displayName=principal.display_name,
        limits=principal.limits,
        storedBytes=principal.stored_bytes,
    )


_UNKNOWN = "404 principal-unknown"
ROUTES = [
    Route(
        "POST",
        "principal",
        create,
        "operator",
        Role.OPERATE,
        summary="Register a tenant",
        request=NewPrincipal,
        answers={201: PrincipalMade},
    ),
    Route(
        "GET",
        "principal/{uuid}",
        read,
        "operator",
        Role.READ,
        summary="A tenant",
        answers={200: PrincipalView},
        errors=(_UNKNOWN,),
    ),
    Route(
        "PUT",
        "principal/{uuid}",
        change,
        "operator",
        Role.OPERATE,
        summary="Rename a tenant, or limit it",
        request=PrincipalChange,
        answers={200: PrincipalView},
        errors=("400 limits-invalid", _UNKNOWN),
        example={"limits": {"storedBytes": 1_000_000_000}},
    ),
    Route(
        "GET",
        "principal/{uuid}/audit",
        audit,
        "operator",
        Role.READ,
        summary="Who did what at a tenant",
        answers={200: Page[AuditView]},
        query=QUERY,
        errors=(_UNKNOWN, *ERRORS),
    ),
    Route(
        "POST",
        "principal/{uuid}/recount",
        recount,
        "operator",
        Role.OPERATE,
        summary="Count anew what a tenant keeps",
        answers={200: PrincipalView},
        errors=(_UNKNOWN,),
    ),
    Route(
        "POST",
        "principal/rewrap",
        rewrap,
        "operator",
        Role.OPERATE,
        summary="Wrap tenants' data keys under the current master key",
        request=Rewrap,
        bodiless=True,
        answers={200: RewrappedView},
        example={},
    ),
    Route(
        "DELETE",
        "principal/{uuid}",
        delete,
        "operator",
        Role.ADMIN,
        summary="Delete a tenant and all it has",
        answers={204: None},
        errors=(_UNKNOWN, "409 principal-changed"),
    ),
]
