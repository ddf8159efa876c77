"""Each role on each route: a table made of the routes themselves. And who is not let in at all."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import jwt
import orjson
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.stack import Stack
from tntcore.api.http import Request, Response
from tntcore.app import App
from tntcore.config import IdentityProvider
from tntcore.egress import EgressError
from tntcore.errors import Problem
from tntcore.storage.records import Operator
from tntcore.tenancy.access import OperatorRole
from tntcore.tenancy.operators import new_key, opens, owner_of
from tntcore.tenancy.tokens import Tokens

NOBODY = "00000000-0000-0000-0000-000000000000"
# What each may do, by the least role. A new route is a decision: it is made here.
ROLES = {
    "read": {
        "GET principal",
        "GET principal/{uuid}",
        "GET backlog",
        "GET poison",
        "GET poison/{queue}/{message}",
        "GET operator",
        "GET operator/me",
        "GET operator/audit",
        "GET principal/{uuid}/audit",
        "GET principal/{uuid}/usage",
        "POST operator/{uuid}/rotate",  # one's own
        "DELETE operator/{uuid}",  # one's own
    },
    "operate": {
        "POST principal",
        "POST principal/{uuid}/suspend",
        "POST principal/{uuid}/resume",
        "PUT principal/{uuid}",
        "POST principal/{uuid}/recount",
        "POST principal/rewrap",
        "POST poison/replay",
    },
    "admin": {
        "DELETE principal/{uuid}",
        "DELETE poison/{queue}/{message}",
        "POST operator",
        "POST operator/revoke",
    },
}
OTHERS = {"POST operator/{uuid}/rotate", "DELETE operator/{uuid}"}
"""What an admin alone may do to another operator's key."""


@pytest.fixture(scope="module")
async def keys(stack: Stack) -> dict[str, str]:
    """A key of each role."""
    made = {}
    for role in OperatorRole:
        answer = await stack.call("POST", "operator", {"name": role, "role": role}, **stack.operator)
        made[str(role)] = answer.json()["headers"]["tnt-operator-key"]
    return made


async def ask(app: App, method: str, path: str, **headers: str) -> Response:
    """With a body that no route takes, so that nothing is done."""
    # Whose key it is counts where one is rotated, which is looked at after the body.
    body = b"[]" if method in ("POST", "PUT") and not path.endswith("/rotate") else b""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return await app.http(Request(method, path, {}, given, body))


async def test_each_role_on_each_route(stack: Stack, keys: dict[str, str]) -> None:
    described = {f"{route.method} {route.path}": route for route in stack.app.routes if route.access == "operator"}
    assert described.keys() == set().union(*ROLES.values())
    checked = 0
    for role, key in keys.items():
        for name, route in described.items():
            least = next(each for each, names in ROLES.items() if name in names)
            path = route.path.format(uuid=NOBODY, queue="inbound", message="none")
            answer = await ask(stack.app, route.method, path, tnt_operator_key=key)
            allowed = OperatorRole(role).covers(OperatorRole(least)) and not (name in OTHERS and role != "admin")
            assert (answer.status == 403) == (not allowed), (role, name, answer.status, answer.body)
            if not allowed:
                problem = orjson.loads(answer.body)
                assert problem["type"].endswith(":role-too-low")
                assert least in problem["detail"] or "admin" in problem["detail"]
            checked += 1
    assert checked == 3 * len(described)


async def test_keys_open_no_other_kind_of_route(stack: Stack, keys: dict[str, str]) -> None:
    client = await stack.register("Other")
    for route in stack.app.routes:
        path = route.path.format_map(_Nobody())
        if route.access == "tenant":
            assert (await ask(stack.app, route.method, path, tnt_operator_key=keys["admin"])).status == 401, route.path
            answer = await ask(stack.app, route.method, path, tnt_subscription_key=keys["admin"])
            assert answer.status == 401, route.path
        elif route.access == "operator":
            assert (await ask(stack.app, route.method, path, tnt_subscription_key=client.key)).status == 401, route.path
            assert (await ask(stack.app, route.method, path, tnt_operator_key=client.key)).status == 401, route.path
        elif route.access == "host":
            answer = await ask(stack.app, route.method, path, tnt_operator_key=keys["admin"])
            assert answer.status in (404, 405), route.path


class _Nobody(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return NOBODY


@pytest.mark.parametrize(
    "key",
    ["", "tnto_", "tnto_" + "A" * 63, "tnto_" + "A" * 64, "tnto_" + "A" * 65, "tnto_" + "é" * 64, "tnto_" + "/" * 64,
     "TNTO_" + "A" * 64, "x" * 100_000],
)  # fmt: skip
async def test_what_is_no_key(stack: Stack, key: str) -> None:
    answer = await ask(stack.app, "GET", "operator/me", tnt_operator_key=key)
    assert answer.status == 401
    assert key not in answer.body.decode() or not key


def test_a_key_opens_its_own_record_alone() -> None:
    one, other = "019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1b", "019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1c"
    key = new_key(one, lambda size: hashlib.shake_256(b"x").digest(size))
    assert owner_of(key.text) == one
    record = Operator(uuid=one, hash=key.hash)
    assert opens(record, key.text, 0)
    for place in range(len("tnto_"), len(key.text)):
        letter = "B" if key.text[place] == "A" else "A"
        assert not opens(record, key.text[:place] + letter + key.text[place + 1 :], 0)
    assert not opens(Operator(uuid=other, hash=""), key.text, 0)
    former = Operator(uuid=one, hash="", former_hash=key.hash, former_until=10)
    assert opens(former, key.text, 9)
    assert not opens(former, key.text, 10)


async def test_guesses_are_bounded_and_do_not_lock_out_who_is_known(stack: Stack, keys: dict[str, str]) -> None:
    services = stack.app.services
    limits = replace(services.config.limits, wrong_keys=5)
    app = App(replace(services, config=replace(services.config, limits=limits)))
    client = await stack.register("Known")
    here, there = {"x_forwarded_for": "198.51.100.7"}, {"x_forwarded_for": "203.0.113.9"}
    for header, path in (("tnt_operator_key", "operator/me"), ("tnt_subscription_key", "identity")):
        good = keys["read"] if header == "tnt_operator_key" else client.key
        assert (await ask(app, "GET", path, **{header: good}, **here)).status == 200
        statuses = [
            (await ask(app, "GET", path, **{header: f"tnto_{'A' * 60}{number:04}"}, **here)).status
            for number in range(20)
        ]
        assert statuses[-1] == 429
        assert statuses.count(401) <= 5
        answer = await ask(app, "GET", path, **{header: "tnto_" + "B" * 64}, **here)
        assert answer.status == 429
        assert int(answer.headers["retry-after"]) > 0
        assert (await ask(app, "GET", path, **{header: good}, **here)).status == 200, "who is known goes on"
        assert (await ask(app, "GET", path, **{header: "tnto_" + "B" * 64}, **there)).status == 401
        here, there = {"x_forwarded_for": "198.51.100.8"}, {"x_forwarded_for": "203.0.113.10"}


async def test_operators_call_from_their_networks_alone(stack: Stack, keys: dict[str, str]) -> None:
    services = stack.app.services
    networks = (ipaddress.ip_network("203.0.113.0/24"), ipaddress.ip_network("2001:db8::7/128"))
    app = App(replace(services, config=replace(services.config, operator_networks=networks)))
    key = {"tnt_operator_key": keys["admin"]}
    for address in ("203.0.113.9", "203.0.113.9:4711", "::ffff:203.0.113.9", "2001:db8::7", "[2001:db8::7]:443"):
        answer = await ask(app, "GET", "operator/me", x_forwarded_for=f"198.51.100.7, {address}", **key)
        assert answer.status == 200, address
    # Whatever the key: who guesses is not told more.
    for address in ("198.51.100.7", "203.0.113.9, 198.51.100.7", "2001:db8::8", "nobody", ""):
        for given in (key, {"tnt_operator_key": "tnto_" + "A" * 64}, {}):
            answer = await ask(app, "GET", "operator/me", x_forwarded_for=address, **given)
            assert answer.status == 403, address
            assert orjson.loads(answer.body)["type"].endswith(":operator-network")
    assert (await ask(app, "GET", "operator/me", **key)).status == 403
    first = Request("POST", "operator/first", {}, {}, b"{}")
    assert (await app.http(first, ["host"])).status == 403
    # Tenants and strangers call from anywhere.
    client = await stack.register("Anywhere")
    assert (await ask(app, "GET", "identity", tnt_subscription_key=client.key)).status == 200
    assert (await ask(app, "GET", "health")).status == 200


# Tokens of an identity provider.

ISSUER = IdentityProvider("https://login.example/tenant/v2.0", "api://tntcore")


class Provider:
    """An identity provider, as egress reaches it."""

    def __init__(self, url: str = ISSUER.url) -> None:
        self.url = url
        self.keys = {"one": rsa.generate_private_key(65537, 2048)}
        self.issuer = url
        self.fetched: list[str] = []
        self.away = False
        self.more: list[Any] = []

    async def fetch(self, url: str) -> bytes:
        self.fetched.append(url)
        if self.away:
            raise EgressError("connect", "away")
        if url == f"{self.url}/.well-known/openid-configuration":
            return orjson.dumps({"issuer": self.issuer, "jwks_uri": f"{self.url}/keys"})
        assert url == f"{self.url}/keys"
        jwks = [
            {**orjson.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig"}
            for kid, key in self.keys.items()
        ]
        return orjson.dumps({"keys": [*self.more, *jwks]})

    def token(self, kid: str = "one", alg: str = "RS256", key: Any = None, **claims: Any) -> str:
        now = int(time.time())
        known = {
            "iss": self.url, "aud": ISSUER.audience, "sub": "subject", "oid": "object", "iat": now, "nbf": now,
            "exp": now + 600, "roles": ["tnt.operate"], "preferred_username": "ada@example.com",
        }  # fmt: skip
        given = {name: value for name, value in {**known, **claims}.items() if value is not None}
        return jwt.encode(given, self.keys[kid] if key is None else key, alg, headers={"kid": kid})


@pytest.fixture(scope="module")
def provider() -> Provider:
    return Provider()


async def test_a_token_says_who_and_which_role(provider: Provider) -> None:
    tokens = Tokens(ISSUER, provider.fetch)
    actor = await tokens.read(provider.token())
    assert (actor.kind, actor.id, actor.name, actor.role) == ("token", "object", "ada@example.com", "operate")
    several = await tokens.read(provider.token(roles=["other", "tnt.read", "tnt.admin", 7]))
    assert several.role == "admin"
    assert (await tokens.read(provider.token(oid=None))).id == "subject"
    assert len(provider.fetched) == 2, "keys are kept"


async def test_tokens_that_are_refused(provider: Provider) -> None:
    tokens, now = Tokens(ISSUER, provider.fetch), int(time.time())
    stranger = rsa.generate_private_key(65537, 2048)
    good = provider.token()
    head, body, signature = good.split(".")
    other = provider.token(roles=["tnt.admin"]).split(".")[1]
    public = provider.keys["one"].public_key()
    secret = orjson.dumps(jwt.algorithms.RSAAlgorithm.to_jwk(public))
    refused = {
        "of another issuer": provider.token(iss="https://login.example/other/v2.0"),
        "for another audience": provider.token(aud="api://other"),
        "has expired": provider.token(exp=now - 120),
        "is not valid yet": provider.token(nbf=now + 3600),
        "signature": provider.token(key=stranger),
        "issuer has no such key": jwt.encode({"sub": "x"}, stranger, "RS256", headers={"kid": "two"}),
        "not a signed JWT": "x.y.z",
    }
    for why, token in refused.items():
        with pytest.raises(Problem, match=why) as raised:
            await tokens.read(token)
        assert (raised.value.status, raised.value.code) == (401, "operator-token-invalid")
        assert token not in raised.value.detail
    for token in (
        f"{head}.{other}.{signature}",
        f"{head}.{body}.",
        jwt.encode({"sub": "x"}, "", "none", headers={"kid": "one"}),
        provider.token(alg="HS256", key=secret),
        provider.token(alg="RS512"),
        provider.token(alg="PS256"),
        provider.token(exp=None),
        provider.token(sub=None),
        "x" * 20_000,
    ):
        with pytest.raises(Problem) as raised:
            await tokens.read(token)
        assert (raised.value.status, raised.value.code) == (401, "operator-token-invalid")
    for roles in (None, [], ["tnt.owner"], "tnt.admin", {"tnt.admin": 1}):
        with pytest.raises(Problem) as raised:
            await tokens.read(provider.token(roles=roles))
        assert (raised.value.status, raised.value.code) == (403, "role-missing")


async def test_keys_are_read_again_seldom() -> None:
    provider, seconds = Provider(), [0.0]
    tokens = Tokens(ISSUER, provider.fetch, lambda: seconds[0])
    provider.more = [{"kty": "EC"}, 7, {"kty": "RSA", "kid": "one", "n": "AQAB", "e": "AQAB"}]
    await tokens.read(provider.token())
    provider.keys["two"] = rsa.generate_private_key(65537, 2048)
    for _ in range(50):
        with pytest.raises(Problem):
            await tokens.read(provider.token("two"))
    assert len(provider.fetched) == 2
    seconds[0] = 301
    await tokens.read(provider.token("two"))
    assert len(provider.fetched) == 4
    # An hour later the provider is away.
    seconds[0] = 4_000
    provider.away = True
    with pytest.raises(Problem) as raised:
        await tokens.read(provider.token())
    assert (raised.value.status, raised.value.code, raised.value.retry_after) == (503, "issuer-unavailable", 10)
    provider.away, provider.issuer = False, "https://evil.example"
    with pytest.raises(Problem):
        await tokens.read(provider.token())


@pytest.fixture
async def local() -> AsyncIterator[Provider]:
    """One on this machine, which egress reaches over HTTP."""
    provider = Provider()

    async def handle(request: web.BaseRequest) -> web.Response:
        body = await provider.fetch(f"http://{request.host}{request.path}")
        return web.Response(body=body, content_type="application/json")

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    provider.url = provider.issuer = f"http://127.0.0.1:{runner.addresses[0][1]}/tenant"
    yield provider
    await runner.cleanup()


async def test_a_token_at_the_door(stack: Stack, local: Provider) -> None:
    services, provider = stack.app.services, local
    app = App(replace(services, config=replace(services.config, issuer=IdentityProvider(local.url, ISSUER.audience))))
    answer = await ask(app, "GET", "operator/me", authorization=f"Bearer {provider.token()}")
    assert answer.status == 200, answer.body
    assert orjson.loads(answer.body) == {
        "uuid": None, "name": "ada@example.com", "role": "operate", "subject": "object", "expiresAt": None,
    }  # fmt: skip
    assert (await ask(app, "DELETE", f"operator/{NOBODY}", authorization=f"bearer {provider.token()}")).status == 403
    answer = await ask(app, "GET", "operator/me", authorization="Basic eDp5")
    assert orjson.loads(answer.body)["type"].endswith(":operator-key-missing")
    # Where no provider is set, no token is looked at.
    answer = await ask(stack.app, "GET", "operator/me", authorization=f"Bearer {provider.token()}")
    assert orjson.loads(answer.body)["type"].endswith(":operator-key-missing")


async def test_a_key_that_nobody_has_takes_no_known_key_away() -> None:
    provider, seconds = Provider(), [0.0]
    tokens = Tokens(ISSUER, provider.fetch, lambda: seconds[0])
    await tokens.read(provider.token())
    seconds[0] = 301
    provider.away = True
    with pytest.raises(Problem):
        await tokens.read(provider.token("invented", key=provider.keys["one"]))
    assert (await tokens.read(provider.token())).role == OperatorRole.OPERATE


async def test_keys_that_cannot_be_had_are_not_asked_for_at_each_call() -> None:
    provider, seconds = Provider(), [0.0]
    tokens = Tokens(ISSUER, provider.fetch, lambda: seconds[0])
    provider.away = True
    for _ in range(5):
        with pytest.raises(Problem):
            await tokens.read(provider.token())
    assert len(provider.fetched) == 1
    provider.away = False
    seconds[0] = 6
    assert (await tokens.read(provider.token())).role == OperatorRole.OPERATE


async def test_a_header_that_is_nested_too_deep_is_no_token() -> None:
    header = base64.urlsafe_b64encode(b"[" * 11_900).rstrip(b"=").decode()
    with pytest.raises(Problem) as raised:
        await Tokens(ISSUER, Provider().fetch).read(f"{header}.e30.eA")
    assert raised.value.code == "operator-token-invalid"
