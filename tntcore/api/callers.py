"""Authenticates callers: tenants by subscription key, operators by operator key or identity-provider token."""

from __future__ import annotations

import hmac
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tntcore.api.http import KEY_HEADER, OPERATOR_HEADER, Request, Route, client_address, client_ip, hash_key
from tntcore.config import IdentityProvider
from tntcore.errors import Problem
from tntcore.rate_limits import Pace
from tntcore.services import Services
from tntcore.storage.records import ApiToken
from tntcore.tenancy.access import Actor, OperatorRole, Scope
from tntcore.tenancy.operators import FIRST, HOME, PREFIX, is_usable
from tntcore.tenancy.tenants import Tenant

if TYPE_CHECKING:
    from tntcore.tenancy.tokens import Tokens

HOST = Actor("host", "", FIRST, OperatorRole.ADMIN)
"""The caller of a route that the host opens only for its master key."""
_UNKNOWN_ADDRESSES = 10  # callers with an unknown address share the budget of this many addresses


class Callers:
    """
    Args:
        now: monotonic seconds.
    """

    def __init__(self, services: Services, now: Callable[[], float] = time.monotonic) -> None:
        self._services = services
        self._limits = services.config.limits
        self._wrong = Pace(now)
        issuer = services.config.issuer
        self._tokens = _open_tokens(issuer, services, now) if issuer is not None else None

    async def tenant(self, request: Request, route: Route) -> tuple[Tenant, Actor]:
        """Returns the tenant of the subscription key, and checks the scope the route needs.

        Raises `Problem` 401, 403 or 429, or the error in `Tenant.locked` if the data key is not available.
        """
        key = request.headers.get(KEY_HEADER)
        if key is None and self._services.config.key_in_query:
            key = request.query.get(KEY_HEADER)
        if not key:
            raise Problem(401, "key-missing", f"The subscription key is missing. Send it in the header {KEY_HEADER}.")
        tenant, token = await self._known(request, key)
        now = self._services.now()
        if 0 < token.expires_at <= now:
            raise _expired()
        if tenant.locked is not None:
            raise tenant.locked.with_traceback(None)
        if tenant.is_suspended and not route.when_suspended:
            raise Problem(403, "tenant-suspended", "The operator has suspended this tenant. Contact the operator.")
        scope = Scope(token.scope or Scope.ADMIN)
        if not scope.covers(route.needs):
            detail = f"Your key has the scope {scope}; this call needs {route.needs}. Use another key."
            raise Problem(403, "scope-too-low", detail)
        self._services.last_used.saw(tenant.uuid, token, now)
        return tenant.whole, Actor("tenant", token.uuid, token.name, scope)

    async def check_key(self, request: Request) -> None:
        """Checks that the subscription key is good, and counts any other, even one that has expired, as a wrong key.

        Raises `Problem` 401 or 429.
        """
        _, token = await self._known(request, request.headers[KEY_HEADER])
        if 0 < token.expires_at <= self._services.now():
            self._check_guesses(request)
            self._guessed(request)
            raise _expired()

    async def _known(self, request: Request, key: str) -> tuple[Tenant, ApiToken]:
        """Raises `Problem` 401 or 429."""
        digest = hash_key(key)
        if not self._services.lookups.is_cached("token", digest):
            self._check_guesses(request)
        found = await self._services.lookups.find("token", digest)
        tenant = await self._services.tenants.get(found.principal) if found else None
        token = await tenant.token(found.uuid) if tenant is not None and found is not None else None
        if tenant is None or token is None or not hmac.compare_digest(token.hash, digest) or token.status != "ACTIVE":
            self._guessed(request)
            detail = "The subscription key is unknown or was revoked. Use another key."
            if key.startswith(PREFIX):
                detail = f"This is an operator's key, and {KEY_HEADER} takes a tenant's. Send it in {OPERATOR_HEADER}."
            raise Problem(401, "key-unknown", detail)
        return tenant, token

    async def operator(self, request: Request, needs: OperatorRole) -> Actor:
        """Returns the operator, and checks that it has at least this role. Raises `Problem` 401, 403, 429 or 503."""
        actor = await self._operator(request)
        if not OperatorRole(actor.role).covers(needs):
            raise Problem(
                403,
                "role-too-low",
                f"Your role is {actor.role}; this call needs {needs}. Ask an operator with the role admin.",
            )
        return actor

    def check_network(self, request: Request) -> None:
        """Raises `Problem` 403 if operators may call only from certain networks and this call comes from another."""
        networks = self._services.config.operator_networks
        address = client_ip(request.headers, self._limits.forwarded_hops) if networks else None
        if networks and not (address and any(address in network for network in networks)):
            raise Problem(
                403,
                "operator-network",
                "Operators may not call from your address. Call from one of the networks in the setting "
                "TNT_OPERATOR_NETWORKS.",
            )

    async def _operator(self, request: Request) -> Actor:
        key = request.headers.get(OPERATOR_HEADER)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if key:
            return await self._by_key(request, key)
        if self._tokens is not None and scheme.lower() == "bearer" and token:
            # A refused token does not count as a wrong key: refusing it costs no storage call, and a good one is known
            # only once it is verified.
            return await self._tokens.read(token.strip())
        other = " or a token of your identity provider as Authorization: Bearer" if self._tokens is not None else ""
        raise Problem(
            401, "operator-key-missing", f"The operator key is missing. Send it in the header {OPERATOR_HEADER}{other}."
        )

    async def _by_key(self, request: Request, key: str) -> Actor:
        services = self._services
        if not services.operators.is_cached(key):
            self._check_guesses(request)
        record = await services.operators.find(key)
        if record is None or record.status != "ACTIVE":
            self._guessed(request)
            detail = "The operator key is unknown or was revoked. Use another key."
            if not key.startswith(PREFIX):
                detail = f"This is no operator's key: those begin with {PREFIX}. A tenant's key goes in {KEY_HEADER}."
            raise Problem(401, "operator-key-unknown", detail)
        now = services.now()
        if not is_usable(record, now):
            raise Problem(
                401,
                "operator-key-expired",
                "The operator key has expired. Ask an operator with the role admin for a new one.",
            )
        services.last_used.saw(HOME, record, now)
        return Actor("operator", record.uuid, record.name, record.role)

    def _check_guesses(self, request: Request) -> None:
        """Raises `Problem` 429 if too many wrong keys came from this address. Callers check known good keys first."""
        if wait := self._wrong.wait(*self._budget(request)):
            seconds = math.ceil(wait)
            detail = f"Too many wrong keys came from your address. Try again in {seconds} s."
            raise Problem(429, "too-many-wrong-keys", detail, retry_after=seconds)

    def _guessed(self, request: Request) -> None:
        self._services.meter.count("api.wrong-key")
        self._wrong.reserve(*self._budget(request))

    def _budget(self, request: Request) -> tuple[str, int]:
        address = client_address(request.headers, self._limits.forwarded_hops)
        return address, self._limits.wrong_keys * (1 if address else _UNKNOWN_ADDRESSES)


def _expired() -> Problem:
    detail = "The subscription key has expired. Create a new one, or ask an admin of your account for one."
    return Problem(401, "key-expired", detail)


def _open_tokens(issuer: IdentityProvider, services: Services, now: Callable[[], float]) -> Tokens:
    # Slow to load for services without an identity provider.
    from tntcore.tenancy.tokens import Tokens

    return Tokens(issuer, services.egress.fetch, now)
