"""`/account`: the tenant and the key of the caller."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from tntcore.api.api_tokens import ApiTokenView, view
from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.principals import Limits, own_principal
from tntcore.api.views import Uuid, found
from tntcore.storage.records import ApiToken
from tntcore.tenancy.access import Scope


class Account(TypedDict):
    """The tenant, and the key this call was made with. `quota` is in bytes; 0 means no limit."""

    principalUuid: Uuid
    displayName: str
    status: Literal["ACTIVE", "SUSPENDED"]
    limits: Limits
    storedBytes: Annotated[int, "bytes the tenant stores"]
    quota: Annotated[int, "bytes it may store"]
    key: ApiTokenView


async def read(call: Call) -> Response:
    """Shows which tenant the key belongs to and what the key may do. Suspended tenants can call this too."""
    tenant, usage = call.tenant, call.services.usage
    token = await found(tenant.records, ApiToken, call.actor.id)
    principal = await own_principal(call)
    return answer(
        {
            "principalUuid": tenant.uuid,
            "displayName": principal.display_name,
            "status": principal.status,
            "limits": principal.limits,
            "storedBytes": usage.kept(principal),
            "quota": usage.quota(principal),
            "key": view(token, call.services.now()),
        }
    )


ROUTES = [
    Route(
        "GET",
        "account",
        read,
        scope=Scope.READ,
        when_suspended=True,
        summary="Show the account of your key",
        answers={200: Account},
    )
]
