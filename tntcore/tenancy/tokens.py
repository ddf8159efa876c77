"""Operators' tokens of an identity provider, such as Entra ID: JWTs (RFC 7519) whose `roles` grant rights.

The provider's keys come from its discovery document (OpenID Connect Discovery 1.0, section 4), through egress. They are
cached for an hour. A token that names an unknown key causes a new read, at most one in five minutes.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import jwt
import orjson

from tntcore.caching import SharedCache
from tntcore.config import IdentityProvider
from tntcore.egress import EgressError
from tntcore.errors import Problem
from tntcore.tenancy.access import Actor, OperatorRole

ROLES: Final[Mapping[str, OperatorRole]] = {f"tnt.{role}": role for role in OperatorRole}
"""Roles by the values of the claim `roles`, as the provider's application defines them."""
_ALGORITHMS: Final = ["RS256"]
_LEEWAY: Final = 60  # seconds that clocks may differ
_MAX_TOKEN: Final = 16_000
_MAX_KEYS: Final = 50
_MIN_BITS: Final = 2048
_HOUR: Final = 3_600.0
_AGAIN: Final = 300.0
_AFTER_FAILURE: Final = 5.0
_DISCOVERY: Final = "/.well-known/openid-configuration"

Keys = Mapping[str, jwt.PyJWK]


class Tokens:
    """Verifies operators' tokens.

    Args:
        fetch: the document at a URL; raises `EgressError`.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        issuer: IdentityProvider,
        fetch: Callable[[str], Awaitable[bytes]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._fetch = fetch
        self._clock = clock
        self._keys: SharedCache[Keys] = SharedCache(clock, 1)
        self._read_at = -_AGAIN

    async def read(self, token: str) -> Actor:
        """Verifies a token (signature, issuer, audience, times, and a role of ours) and returns its actor.

        Raises:
            Problem: 401 `operator-token-invalid`, 403 `role-missing`, 503 `issuer-unavailable`.
        """
        if len(token) > _MAX_TOKEN:
            raise _invalid("it is too long")
        try:
            kid = jwt.get_unverified_header(token).get("kid")
        except (jwt.PyJWTError, RecursionError):
            raise _invalid("it is not a signed JWT") from None
        key = await self._key(kid) if isinstance(kid, str) else None
        if key is None:
            raise _invalid("the issuer has no such key")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=_ALGORITHMS,
                issuer=self._issuer.url,
                audience=self._issuer.audience,
                leeway=_LEEWAY,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise _invalid(_WHY.get(type(error), "its signature or form is invalid")) from None
        return _actor(claims)

    async def _key(self, kid: str) -> jwt.PyJWK | None:
        keys = await self._keys.get("", self._load)
        if kid not in keys and self._clock() - self._read_at >= _AGAIN:
            # Anybody can name an unknown key, so the cached keys stay until newer ones are read.
            keys, seconds = await self._load()
            self._keys.put("", keys, seconds)
        return keys.get(kid)

    async def _load(self) -> tuple[Keys, float]:
        if self._keys.peek("") is None and self._clock() - self._read_at < _AFTER_FAILURE:
            raise _unavailable()
        self._read_at = self._clock()
        try:
            found = orjson.loads(await self._fetch(self._issuer.url.rstrip("/") + _DISCOVERY))
            if found["issuer"] != self._issuer.url:
                raise ValueError("it is another issuer's")  # noqa: TRY301
            given = orjson.loads(await self._fetch(found["jwks_uri"]))["keys"]
            keys = _read_keys(given)
            if not keys:
                raise ValueError("it has no keys that may sign")  # noqa: TRY301
        except (EgressError, ValueError, KeyError, TypeError, RecursionError):
            raise _unavailable() from None
        return keys, _HOUR


def _unavailable() -> Problem:
    detail = "The keys of the identity provider cannot be fetched now. Try again, or use an operator key."
    return Problem(503, "issuer-unavailable", detail, retry_after=10)


def _read_keys(given: list[Any]) -> Keys:
    """Returns the keys that may sign tokens, by id. Weak keys and those of other kinds are left out."""
    keys = {}
    for value in given[:_MAX_KEYS]:
        if not isinstance(value, dict) or value.get("kty") != "RSA" or value.get("use", "sig") != "sig":
            continue
        kid = value.get("kid")
        try:
            key = jwt.PyJWK(value, algorithm="RS256")
        except jwt.PyJWTError:
            continue
        if isinstance(kid, str) and key.key.key_size >= _MIN_BITS:
            keys[kid] = key
    return keys


_WHY: Mapping[type[Exception], str] = {
    jwt.ExpiredSignatureError: "it has expired",
    jwt.ImmatureSignatureError: "it is not valid yet",
    jwt.InvalidAudienceError: "it is for another audience",
    jwt.InvalidIssuerError: "it is of another issuer",
}


def _actor(claims: Mapping[str, Any]) -> Actor:
    """Returns the actor in the claims. Raises `Problem` 403 `role-missing`."""
    given = claims.get("roles")
    names = [name for name in given if isinstance(name, str)] if isinstance(given, list) else []
    roles = sorted((ROLES[name] for name in names if name in ROLES), key=list(OperatorRole).index)
    if not roles:
        wanted = ", ".join(ROLES)
        raise Problem(
            403, "role-missing", f"The token has none of the roles {wanted}. Ask your administrator to assign one."
        )
    # `oid` is the same in every application of an Entra tenant; `sub` is for this one alone.
    subject = next(claims[name] for name in ("oid", "sub") if isinstance(claims.get(name), str) and claims[name])
    shown = next((claims[name] for name in _NAMES if isinstance(claims.get(name), str)), "")
    return Actor("token", subject[:200], shown[:200], roles[-1])


_NAMES = ("preferred_username", "upn", "name", "azp", "appid")


def _invalid(why: str) -> Problem:
    return Problem(401, "operator-token-invalid", f"The bearer token was refused: {why}. Get a new one.")
