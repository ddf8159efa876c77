"""Every call that creates, repeated with its `Idempotency-Key` after a fault at each of its storage calls: it is
answered as a call without faults is, and there is one of what it creates.

A new route that creates needs a case here.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.faults.exchanges import PASSED_ON
from tests.faults.flows import Between, basic
from tests.faults.process import Fault, Here
from tests.faults.world import World, run
from tntcore.api.http import Response
from tntcore.app import App

KINDS: tuple[Fault, ...] = ("kill", "fail", "lost", "twice")
CONTEXT = {"@context": {"Membership": "https://acme.example/terms#Membership"}}
SCHEMA = {"name": "degree", "version": "1.0", "attributes": ["name"]}
REQUEST = {"@type": "https://example.org/trade/1.0/offer", "content": "offer"}


class Prepared(Between):
    """Two tenants, connected, with what the calls below are about."""

    async def prepare(self) -> None:
        await super().prepare()
        acme, bolt = self.acme, self.bolt
        bolt.hooks.answers = [500] * 90
        bolt.hooks.clear()
        await acme.act(self.contact, basic("fails"))
        self.action = (await acme.post("action", {"type": "DIDCOMM", "to": self.contact}))["uuid"]
        self.entry = (await bolt.get("settings/DIDCOMM_WEBHOOK"))["setting"][0]["id"]
        self.schema = (await acme.post("schema", SCHEMA))["uuid"]
        operator = await self.world.call("POST", "operator", {"name": "Rex", "role": "read"}, {})
        self.operator = orjson.loads(operator.body)["uuid"]
        self.invited = await bolt.post("invitation", {})
        offer = {"command": "offer", "format": "plain", "to": self.contact, **PASSED_ON}
        await acme.post("credential", offer)
        await self.world.settle()
        [self.offered] = (await bolt.get("exchange"))["hits"]
        [failed] = (await bolt.get("delivery?status=FAILED&kind=webhook"))["hits"][:1]
        self.delivery = failed["uuid"]
        bolt.hooks.answers = []
        bolt.hooks.clear()


Case = tuple[str, Callable[[Prepared], tuple[str, Any]]]
CASES: dict[str, list[Case]] = {
    "POST principal": [("", lambda at: ("principal", {"displayName": "New"}))],
    "POST operator": [("", lambda at: ("operator", {"name": "Eve", "role": "read"}))],
    "POST operator/{uuid}/rotate": [("", lambda at: (f"operator/{at.operator}/rotate", {}))],
    "POST api-token": [("", lambda at: ("api-token", {"name": "shop"}))],
    "POST identity": [
        ("web", lambda at: ("identity", {"displayName": "Shop"})),
        ("key", lambda at: ("identity", {"displayName": "Shop", "method": "did:key"})),
    ],
    "POST settings/{key}": [
        ("webhook", lambda at: ("settings/DIDCOMM_WEBHOOK", {"setting": [{"url": "https://acme.example/x"}]})),
        ("own", lambda at: ("settings/PRINCIPAL_SETTINGS", {"setting": {"autoRequest": True}})),
    ],
    "POST settings/{key}/{entry}/rotate-secret": [
        ("", lambda at: (f"settings/DIDCOMM_WEBHOOK/{at.entry}/rotate-secret", {})),
    ],
    "POST settings/{key}/{entry}/test": [("", lambda at: (f"settings/DIDCOMM_WEBHOOK/{at.entry}/test", {}))],
    "POST invitation": [
        ("1", lambda at: ("invitation", {"label": "Acme"})),
        ("2", lambda at: ("invitation", {"form": "out-of-band/2", "requests": [{**REQUEST, "@id": "offer"}]})),
        ("old", lambda at: ("invitation", {"form": "connections/1"})),
        ("asks", lambda at: ("invitation", {"handshakeProtocols": [], "requests": [REQUEST]})),
    ],
    "POST contact": [
        ("email", lambda at: ("contact", {"contact": {"email": "eve@partner.example"}})),
        ("invited", lambda at: ("contact", {"invitation": at.invited["invitation"]})),
        ("unreachable", lambda at: ("contact", {"contact": {"did": "did:web:nobody.example"}})),
    ],
    "POST action": [
        ("", lambda at: ("action", {"type": "DIDCOMM", "to": at.contact, "data": {"message": basic("one")}})),
        ("empty", lambda at: ("action", {"type": "DIDCOMM", "to": at.contact})),
    ],
    "POST action/{uuid}": [("", lambda at: (f"action/{at.action}", {"data": {"message": basic("one")}}))],
    "POST credential": [
        ("to", lambda at: ("credential", {"command": "offer", "format": "plain", "to": at.contact, **PASSED_ON})),
        ("invites", lambda at: ("credential", {"command": "offer", "format": "plain", "invitation": {}, **PASSED_ON})),
        ("next", lambda at: ("credential", {"command": "propose", "exchangeUuid": at.offered["uuid"], **PASSED_ON})),
    ],
    "POST proof-request": [
        ("to", lambda at: ("proof-request", {"format": "plain", "to": at.contact, **PASSED_ON})),
        ("invites", lambda at: ("proof-request", {"format": "plain", "invitation": {}, **PASSED_ON})),
    ],
    "POST presentation": [
        ("", lambda at: ("presentation", {"command": "propose", "format": "plain", "to": at.contact, **PASSED_ON})),
    ],
    "POST schema": [("", lambda at: ("schema", {**SCHEMA, "version": "2.0"}))],
    "POST credential-definition": [("", lambda at: ("credential-definition", {"schemaId": at.schema}))],
    "POST context": [("", lambda at: ("context", {"url": "https://acme.example/terms/v1", "document": CONTEXT}))],
    "POST delivery/{uuid}/replay": [("", lambda at: (f"delivery/{at.delivery}/replay", {}))],
    "POST delivery/replay": [("", lambda at: ("delivery/replay", {"since": "2001-01-01T00:00:00Z"}))],
}
BY_BOLT = {
    "POST settings/{key}/{entry}/rotate-secret",
    "POST settings/{key}/{entry}/test",
    "POST delivery/{uuid}/replay",
    "POST delivery/replay",
    "next",
}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def test_every_route_that_creates_has_a_case(tmp_path: Path) -> None:
    async def work() -> None:
        app: App = World(tmp_path).process.app
        # Older spellings of a call are the same function.
        creating = {f"{route.method} {route.path}": route.handler for route in app.routes if route.creates}
        assert set(CASES) <= creating.keys()
        assert {creating[name] for name in CASES} == set(creating.values())

    run(work)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """What `World.rewind` goes back to."""

    async def work() -> Prepared:
        at = Prepared(World(tmp_path_factory.mktemp("world")))
        await at.prepare()
        await at.world.settle()
        at.world.keep()
        return at

    return run(work)


@pytest.mark.parametrize("route", CASES)
def test_a_repeated_call_makes_one_thing(route: str, prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: dict[Any, Any] = {}
    real = Here.run

    async def once(self: Here, function: Callable[..., Any], *args: object) -> Any:
        name = (function.__name__, *args)
        if function.__name__ != "define":
            return await real(self, function, *args)
        if name not in computed:
            computed[name] = await real(self, function, *args)
        return computed[name]

    monkeypatch.setattr(Here, "run", once)

    async def work() -> None:
        at, world = prepared, prepared.world
        for label, request in CASES[route]:
            path, body = request(at)
            client = at.bolt if {route, label} & BY_BOLT else at.acme
            headers = {"tnt-subscription-key": client.key}
            world.rewind()
            clean = await repeated(world, path, body, headers)
            assert clean.status < 300, clean.body
            await world.settle()
            expected = things(world)
            for kind in KINDS:
                for number in itertools.count(1):
                    met = await one(world, path, body, headers, kind, number, (label, clean, expected))
                    if not met:
                        break
                assert number > 3

    run(work)


async def one(
    world: World,
    path: str,
    body: Any,
    headers: dict[str, str],
    kind: Fault,
    number: int,
    wanted: tuple[str, Response, Counter[str]],
) -> bool:
    """Runs the call with a fault at one of its calls; whether there was such a one."""
    label, clean, expected = wanted
    met = 0

    def plan(name: str, writes: bool) -> Fault | None:
        nonlocal met
        counts = (writes or kind == "fail") and " " not in name  # what is asked of others has spaces
        met += counts
        return kind if met == number and counts else None

    world.rewind()
    world.plan = plan
    try:
        answer = await repeated(world, path, body, headers)
        world.plan = lambda name, writes: None
        assert answer.status == clean.status, answer.body
        assert shape(answer) == shape(clean)
        world.restart()
        again = await repeated(world, path, body, headers)
        assert (again.status, again.body) == (answer.status, answer.body)
        await world.settle()
        assert things(world) == expected
        named = orjson.loads(answer.body).get("uuid")
        rows = world.durable.tables["records"]
        assert named is None or any(named in part for row in rows for part in row)
    except (AssertionError, TimeoutError) as error:
        error.add_note(f"{path} {label}: {kind} at call {number}; the calls: {world.trace[:60]}")
        raise
    return met >= number


async def repeated(world: World, path: str, body: Any, headers: dict[str, str]) -> Response:
    """Calls at once again after an answer of a failure, and after two minutes if the process died."""
    given = {**headers, "idempotency-key": "the same"}
    for _ in range(5):
        answer = await world._http("POST", path, orjson.dumps(body), given)
        if answer is None:
            world.durable.now += 130_000
        elif answer.status < 500:
            return answer
    raise TimeoutError(f"{path} is never answered: {answer}")


def things(world: World) -> Counter[str]:
    """Returns how many rows of each kind there are, of all tenants, but for the pointers of threads: one that changes
    again leaves its pointer to the timer.
    """
    rows = (key for _, key in world.durable.tables["records"] if not key.startswith("pointer~action."))
    return Counter(kind for row in rows if (kind := row.partition("~")[0]) != "idempotency")


def shape(answer: Response) -> Any:
    """Returns the answer without what differs from one call to the other."""

    def of(value: Any) -> Any:
        if isinstance(value, dict):
            return sorted((_UUID.sub("uuid", name), of(inner)) for name, inner in value.items())
        if isinstance(value, list):
            return [of(inner) for inner in value]
        return type(value).__name__

    return of(orjson.loads(answer.body))


def test_an_answer_of_500_after_the_commit_keeps_the_key(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        world = prepared.world
        world.rewind()
        tenants = world.process.app.services.tenants
        read, fails = tenants.get, [True]
        known = {part for part, _ in world.durable.tables["records"]}

        async def unreadable(uuid: str) -> Any:
            is_new = uuid not in known and any(uuid == part for part, _ in world.durable.tables["records"])
            return None if is_new and fails and fails.pop() else await read(uuid)

        monkeypatch.setattr(tenants, "get", unreadable)
        given = {"idempotency-key": "after the commit", "tnt-subscription-key": prepared.acme.key}
        made = [await world._http("POST", "principal", b'{"displayName":"New"}', given) for _ in range(3)]
        first, again, third = (answer for answer in made if answer is not None)
        assert (first.status, again.status, third.body) == (500, 201, again.body)
        rows = world.durable.tables["records"]
        assert len({part for part, key in rows if key.startswith("principal~")} - known) == 1

    run(work)
