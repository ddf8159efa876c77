"""`/api-token`: the subscription keys of a principal."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from tntcore.api.audit import note
from tntcore.api.http import KEY_HEADER, Call, Response, Route, answer
from tntcore.api.principals import KeyHeader, create_token
from tntcore.api.views import Entity, Expiry, Name, Page, Time, Timed, Uuid, entity, expiry, found, listing
from tntcore.messaging import times
from tntcore.storage.commit import Unit
from tntcore.storage.records import ApiToken
from tntcore.tenancy.access import Scope

ScopeName = Literal["read", "send", "admin"]


class NewToken(TypedDict):
    name: NotRequired[Name]
    scope: NotRequired[
        Annotated[
            ScopeName,
            "`read` reads everything except settings; `send` may also send messages and make other changes; `admin` "
            "(the default) may also manage keys, settings and identities",
        ]
    ]
    expiresAt: NotRequired[Expiry]


class TokenMade(TypedDict):
    """A new key, as the header to send. It is shown only once."""

    account: str
    principalUuid: Uuid
    headers: KeyHeader
    uuid: Uuid
    name: str
    scope: ScopeName
    expiresAt: Time | None


class ApiTokenView(Entity):
    """A subscription key. The service does not store its text."""

    status: Literal["ACTIVE", "EXPIRED", "REVOKED"]
    name: str
    scope: ScopeName
    expiresAt: Time | None
    lastUsedAt: Annotated[Time | None, "accurate to a few minutes"]


async def create(call: Call) -> Response:
    """Creates a key. Body: `{name?, scope?, expiresAt?}`.

    The answer has the key in `headers: {"tnt-subscription-key": ...}`. It is shown only this once.
    """
    body = call.body
    name, scope = body.get("name", ""), body.get("scope", Scope.ADMIN)
    expires_at = expiry(body.get("expiresAt"), call.services.now())
    unit, uuid = Unit(), call.uuid7()
    shown = times.iso(expires_at) if expires_at else None
    await note(call, unit, "api-token.made", uuid, name=name, scope=scope, expiresAt=shown)
    key = await create_token(call, call.tenant, name, uuid, unit, scope=Scope(scope), expires_at=expires_at)
    return answer(
        {
            "account": call.tenant.principal.display_name,
            "principalUuid": call.tenant.uuid,
            "headers": {KEY_HEADER: key},
            "uuid": uuid,
            "name": name,
            "scope": scope,
            "expiresAt": shown,
        },
        201,
    )


async def list_(call: Call) -> Response:
    now = call.services.now()
    return await listing(call, ApiToken, lambda token: view(token, now))


async def revoke(call: Call) -> Response:
    """Revokes the key. Other processes of the service may accept it for up to one more minute."""
    token = await found(call.tenant.records, ApiToken, call.arguments["uuid"])
    await call.services.lookups.remove("token", token.hash, token.uuid)
    if token.status != "REVOKED":
        unit = Unit()
        unit.merge(token.key, {"status": "REVOKED", "updatedAt": call.services.now()})
        await note(call, unit, "api-token.revoked", token.uuid, name=token.name)
        await call.tenant.records.commit(unit)
    call.tenant.token_changed(token.uuid)
    return Response(204, content_type="")


def view(token: ApiToken, now: int) -> dict[str, Any]:
    shown = entity(
        token,
        name=token.name,
        scope=token.scope or Scope.ADMIN,
        expiresAt=times.iso(token.expires_at) if token.expires_at else None,
        lastUsedAt=times.iso(token.last_used_at) if token.last_used_at else None,
    )
    if token.status == "ACTIVE" and 0 < token.expires_at <= now:
        shown["status"] = "EXPIRED"
    return shown


ROUTES = [
    Route(
        "POST",
        "api-token",
        create,
        scope=Scope.ADMIN,
        creates=True,
        when_full=True,
        summary="Create a key",
        request=NewToken,
        answers={201: TokenMade},
        example={"name": "warehouse", "scope": "send"},
    ),
    Route(
        "GET",
        "api-token",
        list_,
        scope=Scope.ADMIN,
        summary="List keys",
        answers={200: Page[ApiTokenView]},
        query=Timed,
    ),
    Route(
        "DELETE",
        "api-token/{uuid}",
        revoke,
        scope=Scope.ADMIN,
        summary="Revoke a key",
        answers={204: None},
        errors=("404 api-token-unknown",),
    ),
]
