from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tntcore import fetches
from tntcore.dids import key, peer, web
from tntcore.dids.document import DidDocument, PublicKey
from tntcore.dids.methods import Web
from tntcore.dids.multiformats import decode_multikey, encode_multikey
from tntcore.dids.resolver import Resolver
from tntcore.egress import EgressError
from tntcore.errors import DidError
from tntcore.shares import on_behalf_of, party

ED = decode_multikey("z6MkqRYqQiSgvZQdnBytw86Qbs2ZWUkGv22od935YF4s8M7V")
X = PublicKey("X25519", bytes(range(32)))
WEB = "did:web:partner.example:api:identity:1"
URL = "https://partner.example/api/identity/1/did.json"
LONG = peer.create_4(peer.input_document({"key-1": ED, "key-2": X}, "https://a.example"))
SHORT = peer.short_form(LONG)


class World:
    """A clock and one place to fetch from."""

    def __init__(self) -> None:
        self.time = 0.0
        self.fetched: list[str] = []
        self.answer: Callable[[], bytes] = lambda: json.dumps(web.identity_document(WEB, {"key-1": ED}, None)).encode()
        self.open = asyncio.Event()
        self.open.set()

    async def fetch(self, url: str) -> bytes:
        self.fetched.append(url)
        await self.open.wait()
        return self.answer()

    def resolver(self, *, allow_http: bool = False, **options: Any) -> Resolver:
        return Resolver([Web(self.fetch, allow_http=allow_http)], lambda: self.time, **options)


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize(
    "did", [key.create(ED), "did:peer:0" + encode_multikey(ED), peer.create_2([("V", ED), ("E", X)]), LONG]
)
async def test_dids_that_contain_their_document_take_no_io(world: World, did: str) -> None:
    resolver = world.resolver()
    document = resolver.resolve_local(did)
    assert document
    assert document.id == did
    assert await resolver.resolve(did) is document
    assert world.fetched == []


async def test_a_short_form_is_known_once_its_long_form_was_seen(world: World) -> None:
    resolver = world.resolver()
    assert resolver.resolve_local(SHORT) is None
    with pytest.raises(DidError, match="not-found"):
        await resolver.resolve(SHORT)
    await resolver.resolve(LONG)
    document = await resolver.resolve(SHORT)
    assert document.id == SHORT
    assert [each.key for each in document.methods.values()] == [ED, X]
    assert resolver.resolve_local(SHORT) is document


async def test_did_web_is_fetched_once_in_its_time(world: World) -> None:
    resolver = world.resolver()
    assert resolver.resolve_local(WEB) is None
    document = await resolver.resolve(WEB)
    assert document.methods[f"{WEB}#key-1"].key == ED
    world.time = 200
    assert await resolver.resolve(WEB) is document
    assert resolver.resolve_local(WEB) is document
    assert world.fetched == [URL]
    world.time = 300
    assert resolver.resolve_local(WEB) is None
    await resolver.resolve(WEB)
    assert world.fetched == [URL, URL]


async def test_concurrent_resolves_share_a_fetch_even_if_one_gives_up(world: World) -> None:
    resolver = world.resolver()
    world.open.clear()
    waiting = [asyncio.create_task(resolver.resolve(WEB)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    world.open.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]
    assert await waiting[1] is await waiting[2]
    assert world.fetched == [URL]


async def test_a_failure_is_shared_and_soon_forgotten(world: World) -> None:
    resolver = world.resolver()
    good, world.answer = world.answer, lambda: b"not json"
    results = await asyncio.gather(*(resolver.resolve(WEB) for _ in range(3)), return_exceptions=True)
    assert [getattr(result, "code", result) for result in results] == ["malformed-document"] * 3
    assert len({id(result) for result in results}) == 3
    with pytest.raises(DidError, match="malformed-document"):
        await resolver.resolve(WEB)
    assert resolver.resolve_local(WEB) is None
    assert world.fetched == [URL]
    world.answer, world.time = good, 3.0
    assert (await resolver.resolve(WEB)).id == WEB


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DidError("not-found", "404"), "not-found"),
        (TimeoutError(), "unresolvable"),
        (OSError("refused"), "unresolvable"),
        (KeyError("a bug of the fetcher"), "unresolvable"),
    ],
)
async def test_errors_of_the_fetch(world: World, error: Exception, code: str) -> None:
    def fail() -> bytes:
        raise error

    world.answer = fail
    with pytest.raises(DidError, match=code):
        await world.resolver().resolve(WEB)


@pytest.mark.parametrize("claimed", [WEB + "0", "did:web:victim.example", None])
async def test_a_document_of_another_did_is_refused(world: World, claimed: str | None) -> None:
    world.answer = lambda: json.dumps({"id": claimed}).encode()
    if claimed is None:
        assert (await world.resolver().resolve(WEB)).methods == {}
        return
    with pytest.raises(DidError, match="document-mismatch"):
        await world.resolver().resolve(WEB)


async def test_an_endless_document_is_refused(world: World) -> None:
    world.answer = lambda: b" " * 200_000
    with pytest.raises(DidError, match="document-too-large"):
        await world.resolver().resolve(WEB)


async def test_http_needs_the_switch(world: World) -> None:
    did = "did:web:localhost%3A7071:x"
    world.answer = lambda: json.dumps({"id": did}).encode()
    await world.resolver(allow_http=True).resolve(did)
    await world.resolver().resolve(did)
    assert world.fetched == ["http://localhost:7071/x/did.json", "https://localhost:7071/x/did.json"]


async def test_the_cache_is_bounded(world: World) -> None:
    resolver = world.resolver(capacity=2)
    first = resolver.resolve_local(key.create(ED))
    assert resolver.resolve_local(key.create(ED)) is first
    for n in range(2):
        resolver.resolve_local(key.create(PublicKey("X25519", bytes([n]) * 32)))
    assert resolver.resolve_local(key.create(ED)) is not first


def _of_many_names(number: int) -> str:
    """Each name of its 14 keys has the whole DID in it."""
    keys = [PublicKey("X25519", bytes([n]) * 32) for n in range(14)]
    return peer.create_2([("E", key) for key in keys], [{"id": "#s", "s": f"{number:05}" + "a" * 5_200}])


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """What is made inside takes at most so many bytes of memory."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[0] < size
    finally:
        tracemalloc.stop()


async def test_large_documents_of_strangers_do_not_fill_the_memory(world: World) -> None:
    dids = [_of_many_names(number) for number in range(200)]
    resolver = world.resolver()
    with at_most(80 * 1024 * 1024):
        for did in dids:
            resolver.resolve_local(did)


@pytest.mark.parametrize(
    "did", [LONG, _of_many_names(1), peer.create_4({"y": [[[] for _ in range(60)] for _ in range(30)]})]
)
def test_a_document_is_no_heavier_than_it_says(did: str) -> None:
    weight = peer.resolve(did).weight()
    with at_most(weight):
        kept = peer.resolve(did)
    assert kept.weight() == weight


@pytest.mark.parametrize("did", ["did:sov:WgWxqztrNooG92RXvxSTWv", "did:indy:sovrin:abc", "did:ion:abc"])
async def test_unsupported_methods(world: World, did: str) -> None:
    with pytest.raises(DidError, match="unsupported-method"):
        await world.resolver().resolve(did)


@given(
    st.text()
    | st.builds(
        "{}{}".format, st.sampled_from(["did:key:", "did:web:", "did:peer:0", "did:peer:2", "did:peer:4"]), st.text()
    )
    | st.from_regex(r"did:(key:z|peer:0z|peer:2\.Vz|peer:2\.S|peer:4zQm|web:)[1-9A-Za-z:.%_-]{0,120}")
)
@example("did:peer:4" + "zQm" + "1" * 44 + ":z" + "1" * 10)
@example("did:" + "x" * 100_000)
@example("did:web:partner.example\x00")
@example("\ud800")
async def test_no_text_makes_resolving_fail_otherwise(did: str) -> None:
    async def fetch(url: str) -> bytes:
        raise DidError("not-found", url)

    try:
        document = await Resolver([Web(fetch)], lambda: 0.0).resolve(did)
    except DidError:
        return
    assert document.id == did


async def test_few_wait_long_for_hosts_that_never_answer(world: World) -> None:
    """Strangers who name such hosts leave places to others."""
    resolver = world.resolver()
    world.open.clear()
    with on_behalf_of("attacked", "stranger"):
        patient = [asyncio.create_task(resolver.resolve(WEB if count % 2 else f"{WEB}{count}")) for count in range(4)]
        await asyncio.sleep(0)
        for did in (WEB, f"{WEB}9"):
            with pytest.raises(DidError, match="unresolvable"):
                await asyncio.wait_for(resolver.resolve(did), 20)
    for tenant, sender in (("attacked", "partner"), ("other", "")):
        with on_behalf_of(tenant, sender):
            patient.append(asyncio.create_task(resolver.resolve(WEB)))
    await asyncio.sleep(fetches.BRIEFLY + 0.1)
    assert not any(task.done() for task in patient)
    world.open.set()
    found = await asyncio.gather(*patient, return_exceptions=True)
    assert [isinstance(document, DidDocument) for document in found] == [False, True] * 2 + [True] * 2
    # Who gave up took nothing away from those who did not, and whoever comes next need not wait.
    assert (await resolver.resolve(WEB)).id == WEB


async def test_fetches_that_nobody_waits_for_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go on, and hold connections."""
    resolver = world.resolver()
    world.open.clear()
    monkeypatch.setattr(fetches, "BRIEFLY", 0.01)

    async def named_by(tenant: str, sender: str) -> int:
        """Returns how many fetches began."""
        before = len(world.fetched)
        with on_behalf_of(tenant, sender):
            waiting = [asyncio.create_task(resolver.resolve(f"{WEB}{before + count}")) for count in range(100)]
        brief = asyncio.as_completed(waiting)
        for _ in range(len(waiting) - fetches.PATIENT // 2):
            with pytest.raises(DidError, match="unresolvable"):
                await next(brief)
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return len(world.fetched) - before

    assert await named_by("attacked", "stranger") <= fetches.UNDER_WAY // 2
    assert await named_by("attacked", "stranger") == 0
    assert await named_by("attacked", "partner") >= 1
    assert await named_by("other", "partner") >= 1
    assert len(world.fetched) <= fetches.UNDER_WAY
    world.open.set()
    with on_behalf_of("attacked", "stranger"):
        # A refusal for lack of a place is not kept.
        assert (await resolver.resolve(WEB)).id == WEB


async def test_a_fetch_ends_in_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetches, "LONGEST", 0.01)
    resolver = world.resolver()
    world.open.clear()
    with pytest.raises(DidError, match="unresolvable"):
        await asyncio.wait_for(resolver.resolve(WEB), 20)
    world.open.set()
    assert (await resolver.resolve(WEB)).id == WEB


async def test_the_failure_of_one_tenant_is_not_anothers(world: World) -> None:
    """It may have used up its share of the requests, or the time of its message."""
    resolver, good = world.resolver(), world.answer

    def busy() -> bytes:
        if party().tenant == "greedy":
            raise EgressError("busy", "its own")
        return good()

    world.answer = busy
    world.open.clear()
    with on_behalf_of("greedy"):
        greedy = asyncio.create_task(resolver.resolve(WEB))
        await asyncio.sleep(0)
    with on_behalf_of("modest"):
        modest = asyncio.create_task(resolver.resolve(WEB))
        await asyncio.sleep(0)
        world.open.set()
        assert (await modest).id == WEB
    with pytest.raises(DidError, match="unresolvable"):
        await greedy


async def test_a_failure_is_kept_for_its_tenant_alone(world: World) -> None:
    resolver, good = world.resolver(), world.answer
    world.answer = lambda: b"not json"
    with on_behalf_of("greedy"), pytest.raises(DidError, match="malformed-document"):
        await resolver.resolve(WEB)
    world.answer = good
    with on_behalf_of("modest"):
        assert (await resolver.resolve(WEB)).id == WEB
