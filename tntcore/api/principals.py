"""`/principal`: lets operators register and manage tenants."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import asdict
from typing import Annotated, Literal, NotRequired, TypedDict, TypeVar

from tntcore.api.audit import NO_EFFECT, AuditQuery, AuditView, into, operating, page
from tntcore.api.http import KEY_HEADER, Call, Response, Route, answer, hash_key
from tntcore.api.json_schema import Code, Words
from tntcore.api.views import Did, Entity, Name, Page, Paging, Uuid, entity, found, limit_of, not_found, text
from tntcore.errors import Problem
from tntcore.identities.identities import create_identity
from tntcore.maintenance import key_rotation
from tntcore.maintenance.retention import GONE, remember
from tntcore.services import Services
from tntcore.storage.commit import Changed, Exists, Unit
from tntcore.storage.layout import note_shards
from tntcore.storage.lookups import Found
from tntcore.storage.records import END, ApiToken, Audit, Identity, Principal, Record
from tntcore.storage.repository import COUNT_CAP
from tntcore.storage.retrying import retrying
from tntcore.storage.shards import MOST
from tntcore.storage.tables import Row
from tntcore.storage.transactions import Value
from tntcore.strict_json import write_json
from tntcore.tenancy.access import OperatorRole, Scope
from tntcore.tenancy.operators import HOME
from tntcore.tenancy.tenants import PRINCIPALS, Tenant, index_columns

KeyHeader = TypedDict("KeyHeader", {"tnt-subscription-key": str})
R = TypeVar("R", bound=Record)
_MAX_SCANS, _MAX_READS, _AT_ONCE = 5, 1_000, 50


class NewPrincipal(TypedDict):
    displayName: Name


class Limits(TypedDict, total=False):
    """Limits of a tenant. 0 means no limit; a missing or null limit is the service's default."""

    storedBytes: int | None
    messagesPerMinute: int | None


_Limit = Annotated[int, Words(minimum=0, maximum=10**15 - 1)]


class NewLimits(TypedDict, total=False):
    """0 is no limit. A limit that is left out, or null, is the service's default."""

    storedBytes: _Limit
    messagesPerMinute: _Limit


class PrincipalQuery(Paging, total=False):
    name: Annotated[str, "the same as `search`, for older clients"]
    status: Literal["ACTIVE", "SUSPENDED"]
    search: Annotated[str, "a part of the name, in any case", Words(maxLength=200)]


class PrincipalChange(TypedDict):
    displayName: NotRequired[Name]
    limits: NotRequired[Annotated[NewLimits, Code("limits-invalid")]]
    shards: NotRequired[
        Annotated[
            int,
            "partitions that new contacts and invitations are spread over; never fewer than before",
            Words(minimum=1, maximum=MOST),
            Code("shards-invalid"),
        ]
    ]


class PrincipalView(Entity):
    """A tenant: one company."""

    status: Literal["ACTIVE", "SUSPENDED", "DELETED"]
    displayName: str
    limits: Limits
    shards: Annotated[int, "partitions that its connections are spread over"]
    storedBytes: Annotated[int, "bytes it stores"]


class Suspension(TypedDict):
    reason: NotRequired[Annotated[str, "for the audit log, which the tenant can read", Words(maxLength=500)]]


class Rewrap(TypedDict):
    start: NotRequired[Annotated[str, "`next` of the previous call"]]


class RewrappedView(TypedDict):
    rewrapped: int
    unchanged: int
    failed: Annotated[dict[str, str], "error code by the tenant's uuid"]
    next: str | None


class _FirstIdentity(TypedDict):
    uuid: Uuid
    did: Did


class PrincipalMade(PrincipalView):
    """A new tenant with its first key, as the header to send. The key is shown only once."""

    identity: _FirstIdentity
    account: str
    principalUuid: Uuid
    headers: KeyHeader


async def create(call: Call) -> Response:
    """Registers a tenant, with a default identity and a first key. The key is shown only once. Body:
    `{displayName}`."""
    display_name = text(call.body.get("displayName"), "displayName", maximum=200, required=True)
    services = call.services
    uuid, identity_uuid, token_uuid = call.uuid7(), call.uuid7(), call.uuid7()
    async with operating(call, "tenant.registered", uuid, displayName=display_name) as record:
        principal = await _registered(call, uuid, display_name, record)
        tenant = await services.tenants.get(uuid)
        if tenant is None:
            raise Problem(500, "internal", "The new principal could not be read back. Try again.")
        identity = await tenant.records.get(Identity, identity_uuid) if call.chance is not None else None
        if identity is None:
            try:
                identity = await create_identity(services, tenant, display_name, is_default=True, uuid=identity_uuid)
            except Exists:
                # The write was repeated, or an earlier attempt is still in progress.
                identity = await found(tenant.records, Identity, identity_uuid)
        key = await create_token(call, tenant, "first", token_uuid, Unit())
    return answer(
        {
            **_view(call, principal),
            "identity": {"uuid": identity.uuid, "did": identity.did},
            "account": display_name,
            "principalUuid": uuid,
            "headers": {KEY_HEADER: key},
        },
        201,
    )


async def _registered(call: Call, uuid: str, display_name: str, record: Audit) -> Principal:
    """Writes the tenant's own row. An earlier attempt of the same call may have written it already."""
    services, now = call.services, call.services.now()
    if call.chance is not None and call.chance.again and (before := await _read(services, uuid)) is not None:
        return before
    wrapped = await services.custody.create(uuid)
    principal = Principal(
        uuid=uuid,
        display_name=display_name,
        data_key=wrapped.ciphertext,
        data_key_version=wrapped.version,
        indexed_at=now,
        filed_at=now,
        created_at=now,
        updated_at=now,
    )
    await _index(services, principal)
    unit = Unit()
    unit.create(principal)
    await into(call, unit, record)
    try:
        await services.storage.committer.commit(uuid, unit)
    except Exists:
        # The write was repeated, or an earlier attempt is still in progress.
        services.custody.forget(uuid)
        stored = await _read(services, uuid)
        if stored is None:
            raise
        return stored
    return principal


async def list_(call: Call) -> Response:
    """Lists tenants in order of registration, without deleted ones.

    Filters: `search` (text anywhere in the name, in any case) and `status` (ACTIVE or SUSPENDED). A page costs one
    storage call for each hit, and one for each 1,000 tenants examined, at most six. A page with a `next` may have fewer
    hits than `limit`, even none.
    """
    query = call.query
    if "search" in query and "name" in query:
        raise Problem(400, "query-invalid", "name is the older name of search. Give search alone.")
    name, status = query.get("search", query.get("name", "")).casefold(), query.get("status", "")
    limit, services = limit_of(call), call.services
    hits: list[Principal] = []
    following: str | None = query.get("next", "")
    reads = 0
    for _ in range(_MAX_SCANS):
        if following is None or len(hits) >= limit or reads >= _MAX_READS:
            break
        most = COUNT_CAP if name or status else limit
        page = await services.storage.lookups.scan(PRINCIPALS, following, END, limit=most)
        following = page.next
        rows = [row for row in page.rows if _may_fit(row, name, status)]
        while rows and len(hits) < limit and reads < _MAX_READS:
            part = rows[: min(limit - len(hits), _AT_ONCE)]
            rows = rows[len(part) :]
            reads += len(part)
            loaded = await asyncio.gather(*(_read(services, row.key) for row in part))
            hits += [one for one in loaded if one is not None and _fits(one, name, status)]
        if rows:
            following = rows[0].key
    counted = await services.storage.lookups.scan(
        PRINCIPALS, "", END, limit=COUNT_CAP, columns=("displayName", "status") if name or status else ()
    )
    known = [row for row in counted.rows if not (name or status) or row.values.keys() >= {"displayName", "status"}]
    total = sum(_may_fit(row, name, status) for row in known)
    exact = counted.next is None and len(known) == len(counted.rows)
    return answer(
        {
            "total": {"value": total, "relation": "eq" if exact else "gte"},
            "hits": [_view(call, principal) for principal in hits],
            "next": following,
        }
    )


def _may_fit(row: Row, name: str, status: str) -> bool:
    """Tells whether the index row matches. Rows of tenants registered by an older version have fewer columns."""
    values = row.values
    return name in values.get("displayName", name).casefold() and status in ("", values.get("status", status))


def _fits(principal: Principal, name: str, status: str) -> bool:
    shown = principal.status in ("ACTIVE", "SUSPENDED")
    return shown and name in principal.display_name.casefold() and status in ("", principal.status)


async def _read(services: Services, uuid: str) -> Principal | None:
    row = await services.storage.records.get(uuid, Principal.row_key(uuid))
    return None if row is None else Principal.read(row)


async def _index(services: Services, principal: Principal) -> None:
    """Writes the index row of a tenant."""
    await services.storage.lookups.put(PRINCIPALS, principal.uuid, index_columns(principal))


async def suspend(call: Call) -> Response:
    """Suspends a tenant: it can no longer send or receive. Body: `{reason?}`.

    Agents are told to retry later. The tenant's calls are refused with 403 `tenant-suspended`. Queued messages and
    deliveries keep waiting and use up no attempts. Other processes learn of it within half a minute. Its DID documents
    and other public data stay published.
    """
    return await _set_status(call, "SUSPENDED", "tenant.suspended")


async def resume(call: Call) -> Response:
    """Ends a suspension. Waiting messages and deliveries continue within five minutes. Body: `{reason?}`."""
    return await _set_status(call, "ACTIVE", "tenant.resumed")


async def _set_status(call: Call, status: str, act: str) -> Response:
    body, services = call.body, call.services
    reason = text(body.get("reason"), "reason", maximum=500)
    before = await principal_of(call)
    async with operating(call, act, before.uuid, **({"reason": reason} if reason else {})) as record:

        async def attempt() -> Principal:
            principal = await principal_of(call)
            if principal.status == "DELETED":
                raise not_found(Principal, principal.uuid)
            if principal.status == status:
                return principal
            principal.status, principal.updated_at = status, services.now()
            unit = Unit()
            unit.merge(principal.key, {"status": status, "updatedAt": principal.updated_at}, principal.etag)
            await into(call, unit, record)
            await services.storage.committer.commit(principal.uuid, unit)
            return principal

        principal = await retrying(attempt, contended=_changed())
        if principal.updated_at == before.updated_at:
            record.status = NO_EFFECT
    services.tenants.forget(principal.uuid)
    await _index(services, principal)
    return answer(_view(call, principal))


async def read(call: Call) -> Response:
    return answer(_view(call, await principal_of(call)))


async def change(call: Call) -> Response:
    """Changes a tenant's name, limits or number of shards. Body: `{displayName?, limits?, shards?}`.

    `limits` is `{storedBytes?, messagesPerMinute?}`: whole numbers, 0 for no limit. A missing or null limit is the
    service's default. `shards` can only be raised. Contacts and invitations that are made from a minute later on are
    spread over all of them; what was there stays where it is.
    """
    body = call.body
    principal = await principal_of(call)
    if principal.status == "DELETED":
        raise not_found(Principal, principal.uuid)
    if "displayName" in body:
        principal.display_name = text(body["displayName"], "displayName", maximum=200, required=True)
    if "limits" in body:
        principal.limits = body["limits"]
    principal.updated_at = call.services.now()
    shards: dict[str, Value] = {}
    if body.get("shards", principal.shards) != principal.shards:
        shards = _in_shards(principal, body["shards"], principal.updated_at)
        await note_shards(call.services.storage)
    unit = Unit()
    unit.merge(
        principal.key,
        {
            "displayName": principal.display_name,
            "limits": write_json(principal.limits).decode(),
            "updatedAt": principal.updated_at,
            **shards,
        },
        principal.etag,
    )
    changed = {name: body[name] for name in ("displayName", "limits", "shards") if name in body}
    async with operating(call, "tenant.changed", principal.uuid, **changed) as record:
        await into(call, unit, record)
        await call.services.storage.committer.commit(principal.uuid, unit)
    call.services.tenants.forget(principal.uuid)
    await _index(call.services, principal)
    return answer(_view(call, principal))


def _in_shards(principal: Principal, number: int, now: int) -> dict[str, Value]:
    """Raises the principal's number of shards, and returns the changed columns. Raises `Problem` 409."""
    if number < principal.shards:
        raise Problem(
            409, "shards-fewer", f"The tenant has {principal.shards} shards, which may be in use. Give a higher number."
        )
    principal.shards_before = principal.shards_for_new(now)
    principal.shards, principal.shards_at = number, now
    return {"shards": number, "shardsBefore": principal.shards_before, "shardsAt": now}


async def recount(call: Call) -> Response:
    """Recounts the tenant's stored bytes. This reads all its rows: a minute or more for a million messages."""
    principal = await principal_of(call)
    async with operating(call, "tenant.recounted", principal.uuid):
        await call.services.usage.recount(principal.uuid)
    call.services.tenants.forget(principal.uuid)
    return answer(_view(call, await principal_of(call)))


async def delete(call: Call) -> Response:
    """Deletes a tenant.

    The service first destroys its data key, so that all data encrypted with it is lost. It deletes the tenant's rows
    and message bodies later, in the background.
    """
    services = call.services
    principal = await principal_of(call)
    if principal.status == "DELETED":
        # Completes what an earlier call may have left undone, without an audit record of its own.
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
            # Unless this very write, repeated by the SDK, did it.
            if (await principal_of(call)).status != "DELETED":
                raise _changed() from None
        await _forget(call, principal)
    return Response(204, content_type="")


async def _forget(call: Call, principal: Principal) -> None:
    """Removes the index and lookup rows of a deleted tenant."""
    services = call.services
    services.tenants.forget(principal.uuid)
    await services.storage.lookups.delete(PRINCIPALS, principal.uuid)
    tokens = await _all(services, principal.uuid, ApiToken)
    for token in tokens:
        await services.lookups.remove("token", token.hash, token.uuid)
    for identity in await _all(services, principal.uuid, Identity):
        await services.lookups.remove("identity", identity.uuid, identity.uuid)


async def _all(services: Services, principal: str, kind: type[R]) -> list[R]:
    """Returns a tenant's records of a kind, without encrypted values: its data key is gone."""
    page = await services.storage.records.scan(principal, kind.row_key(""), kind.KIND + END, limit=1000)
    return [kind.read(row) for row in page.rows]


async def rewrap(call: Call) -> Response:
    """Wraps the data keys of the next tenants under the current version of the master key. Body: `{start?}`.

    The answer is `{rewrapped, unchanged, failed: {uuid: code}, next}`. Send `next` as the `start` of the next call; it
    is null at the end.
    """
    start = text(call.body.get("start"), "start", maximum=200)
    services = call.services
    async with operating(call, "data-keys.rewrapped", start=start) as record:
        done = await key_rotation.rewrap(services.storage, services.custody, start)
        record.details |= {"rewrapped": done.rewrapped, "unchanged": done.unchanged, "failed": len(done.failed)}
        if not done.rewrapped:
            record.status = NO_EFFECT
    return answer(asdict(done))


async def audit(call: Call) -> Response:
    """Lists the tenant's audit records, newest first. The tenant sees the same at `GET /audit`."""
    return await page(call, (await principal_of(call)).shard_names)


async def create_token(
    call: Call,
    tenant: Tenant,
    name: str,
    uuid: str,
    unit: Unit,
    *,
    scope: Scope = Scope.ADMIN,
    expires_at: int = 0,
) -> str:
    """Creates a subscription key and returns its text, which is not stored.

    Args:
        uuid: uuid of the key's record. An earlier attempt of the same call may have created it; its key reached nobody.
        unit: changes to commit with it.
        expires_at: milliseconds since 1970; 0 means never.
    """
    services = call.services
    key = "tnt_" + base64.urlsafe_b64encode(call.random(32)).decode().rstrip("=")
    now = services.now()
    token = ApiToken(
        uuid=uuid,
        name=name,
        hash=hash_key(key),
        scope=scope,
        expires_at=expires_at,
        created_at=now,
        updated_at=now,
    )
    await services.lookups.add("token", token.hash, Found(tenant.uuid, "token", token.uuid))
    unit.upsert(token)
    await tenant.records.commit(unit)
    tenant.token_changed(uuid)
    return key


def _changed() -> Problem:
    return Problem(409, "principal-changed", "Another request changed the principal at the same time. Try again.")


async def principal_of(call: Call) -> Principal:
    """Returns the tenant that the path names, also a deleted one. Raises `Problem` 404."""
    uuid = call.arguments["uuid"].lower()
    row = await call.services.storage.records.get(uuid, Principal.row_key(uuid)) if uuid != HOME else None
    if row is None:
        raise not_found(Principal, uuid)
    return Principal.read(row)


async def own_principal(call: Call) -> Principal:
    """Returns the caller's own row, just read."""
    principal = await _read(call.services, call.tenant.uuid)
    if principal is None:
        raise not_found(Principal, call.tenant.uuid)
    return principal


def _view(call: Call, principal: Principal) -> dict[str, object]:
    return entity(
        principal,
        displayName=principal.display_name,
        limits=principal.limits,
        shards=principal.shards,
        storedBytes=call.services.usage.kept(principal),
    )


_UNKNOWN = "404 principal-unknown"
_SUSPENDING = (_UNKNOWN, "409 principal-changed")
ROUTES = [
    Route(
        "GET",
        "principal",
        list_,
        "operator",
        OperatorRole.READ,
        summary="List tenants",
        answers={200: Page[PrincipalView]},
        query=PrincipalQuery,
    ),
    Route(
        "POST",
        "principal/{uuid}/suspend",
        suspend,
        "operator",
        OperatorRole.OPERATE,
        summary="Suspend a tenant",
        request=Suspension,
        bodiless=True,
        answers={200: PrincipalView},
        errors=_SUSPENDING,
        example={"reason": "unpaid"},
    ),
    Route(
        "POST",
        "principal/{uuid}/resume",
        resume,
        "operator",
        OperatorRole.OPERATE,
        summary="End a suspension",
        request=Suspension,
        bodiless=True,
        answers={200: PrincipalView},
        errors=_SUSPENDING,
        example={"reason": "paid"},
    ),
    Route(
        "POST",
        "principal",
        create,
        "operator",
        OperatorRole.OPERATE,
        creates=True,
        summary="Register a tenant",
        request=NewPrincipal,
        answers={201: PrincipalMade},
    ),
    Route(
        "GET",
        "principal/{uuid}",
        read,
        "operator",
        OperatorRole.READ,
        summary="Read a tenant",
        answers={200: PrincipalView},
        errors=(_UNKNOWN,),
    ),
    Route(
        "PUT",
        "principal/{uuid}",
        change,
        "operator",
        OperatorRole.OPERATE,
        summary="Rename a tenant, or change its limits or shards",
        request=PrincipalChange,
        answers={200: PrincipalView},
        errors=(_UNKNOWN, "409 shards-fewer"),
        example={"limits": {"storedBytes": 1_000_000_000}},
    ),
    Route(
        "GET",
        "principal/{uuid}/audit",
        audit,
        "operator",
        OperatorRole.READ,
        summary="List a tenant's audit records",
        answers={200: Page[AuditView]},
        query=AuditQuery,
        errors=(_UNKNOWN,),
    ),
    Route(
        "POST",
        "principal/{uuid}/recount",
        recount,
        "operator",
        OperatorRole.OPERATE,
        summary="Recount a tenant's stored bytes",
        answers={200: PrincipalView},
        errors=(_UNKNOWN,),
    ),
    Route(
        "POST",
        "principal/rewrap",
        rewrap,
        "operator",
        OperatorRole.OPERATE,
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
        OperatorRole.ADMIN,
        summary="Delete a tenant and all its data",
        answers={204: None},
        errors=(_UNKNOWN, "409 principal-changed"),
    ),
]
