"""`/api-token`: the subscription keys of a principal."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from tntcore.api.audit import note
from tntcore.api.http import KEY_HEADER, Call, Response, Route, answer
from tntcore.api.principals import KeyHeader, create_token
from tntcore.api.views import Entity, Name, Page, Uuid, entity, found, listing, text
from tntcore.storage.commit import Unit
from tntcore.storage.records import ApiToken


class NewToken(TypedDict):
    name: NotRequired[Name]


class TokenMade(TypedDict):
    """A key, shown this once, as the header that takes it."""

    account: str
    principalUuid: Uuid
    headers: KeyHeader


class ApiTokenView(Entity):
    """A subscription key; its text is kept nowhere."""

    status: Literal["ACTIVE", "REVOKED"]
    name: str


async def create(call: Call) -> Response:
    """`{name?}` -> `{account, principalUuid, headers: {"tnt-subscription-key": ...}}`, shown this once."""
    name = text(call.request.object().get("name"), "name", maximum=200)
    unit, uuid = Unit(), call.uuid7()
    await note(call, unit, "api-token.made", uuid, name=name)
    key = await create_token(call.services, call.tenant, name, uuid, unit)
    return answer(
        {
            "account": call.tenant.principal.display_name,
            "principalUuid": call.tenant.uuid,
            "headers": {KEY_HEADER: key},
        },
        201,
    )


async def list_(call: Call) -> Response:
    return await listing(call, ApiToken, _view)


async def revoke(call: Call) -> Response:
    """The key is refused from now on; other processes may take it for another minute."""
    token = await found(call.tenant.records, ApiToken, call.arguments["uuid"])
    await call.services.lookups.remove("token", token.hash, token.uuid)
    unit = Unit()
    unit.merge(token.key, {"status": "REVOKED", "updatedAt": call.services.now()})
    await note(call, unit, "api-token.revoked", token.uuid, name=token.name)
    await call.tenant.records.commit(unit)
    call.tenant.token_changed(token.uuid)
    return Response(204, content_type="")


def _view(token: ApiToken) -> dict[str, object]:
    return entity(token, name=token.name)


ROUTES = [
    Route(
        "POST",
        "api-token",
        create,
        creates=True,
        summary="Make a key",
        request=NewToken,
        answers={201: TokenMade},
    ),
    Route("GET", "api-token", list_, summary="The keys", answers={200: Page[ApiTokenView]}),
    Route(
        "DELETE",
        "api-token/{uuid}",
        revoke,
        summary="Revoke a key",
        answers={204: None},
        errors=("404 api-token-unknown",),
    ),
]
