from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tntcore.keys.custody import Custody, CustodyError, DataKey, LocalMasterKeys, MasterKeys, WrappedKey

KEY = DataKey(bytes(range(32)))


class Store:
    """What a table would hold, and a clock."""

    def __init__(self) -> None:
        self.keys: dict[str, WrappedKey] = {}
        self.loads = 0
        self.time = 0.0

    async def load(self, principal: str) -> WrappedKey | None:
        self.loads += 1
        await asyncio.sleep(0)
        return self.keys.get(principal)

    def custody(self, master: MasterKeys, capacity: int = 10) -> Custody:
        return Custody(master, self.load, lambda: self.time, ttl=60, capacity=capacity)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "local" / "master-keys.json"


@pytest.fixture
def store() -> Store:
    return Store()


def master_keys_in(path: Path) -> list[str]:
    return list(json.loads(path.read_text())["keys"].values())


@given(st.binary(max_size=500), st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20))
def test_what_was_sealed_opens(plaintext: bytes, context: str) -> None:
    sealed = KEY.seal(plaintext, context=context)
    assert len(sealed) == len(plaintext) + 41
    assert KEY.open(sealed, context=context) == plaintext


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_a_fingerprint_tells_values_apart_for_who_has_the_key(one: bytes, other: bytes) -> None:
    mark = KEY.fingerprint(one)
    assert len(bytes.fromhex(mark)) == 32
    assert (KEY.fingerprint(other) == mark) == (one == other)
    assert DataKey(bytes(range(32))).fingerprint(one) == mark
    assert DataKey(bytes(32)).fingerprint(one) != mark
    assert mark != hashlib.sha256(one).hexdigest()
    # Nor is it made with the key itself, which seals.
    assert mark != hmac.digest(bytes(range(32)), one, "sha256").hex()


@given(st.binary(max_size=100))
def test_nothing_else_opens(data: bytes) -> None:
    for hostile in (data, b"\x01" + data):
        with pytest.raises(CustodyError, match="sealed-by-other"):
            KEY.open(hostile, context="tenant/record")


def test_a_sealed_value_does_not_open_elsewhere_or_altered() -> None:
    sealed = KEY.seal(b"secret", context="tenant-a/key-1")
    for context in ("tenant-b/key-1", "tenant-a/key-2", ""):
        with pytest.raises(CustodyError, match="sealed-by-other"):
            KEY.open(sealed, context=context)
    with pytest.raises(CustodyError, match="sealed-by-other"):
        DataKey(bytes(32)).open(sealed, context="tenant-a/key-1")
    for at in range(len(sealed)):
        altered = bytearray(sealed)
        altered[at] ^= 1
        with pytest.raises(CustodyError, match="sealed-by-other") as caught:
            KEY.open(bytes(altered), context="tenant-a/key-1")
        assert str(caught.value) == "sealed-by-other: this key does not open this value in this context"


def test_nonces_do_not_repeat() -> None:
    assert len({KEY.seal(b"", context="x")[1:25] for _ in range(1000)}) == 1000


def test_a_key_does_not_show_itself() -> None:
    assert repr(KEY) == str(KEY) == f"{KEY}" == "DataKey(...)"
    with pytest.raises(ValueError, match="32 bytes"):
        DataKey(b"short")


async def test_tenants_cannot_open_each_others_values(path: Path, store: Store) -> None:
    custody = store.custody(LocalMasterKeys(path))
    for principal in ("a", "b"):
        store.keys[principal] = await custody.create(principal)
    sealed = (await custody.data_key("a")).seal(b"secret", context="record")
    with pytest.raises(CustodyError, match="sealed-by-other"):
        (await custody.data_key("b")).open(sealed, context="record")


async def test_a_wrapped_key_moved_to_another_tenant_does_not_unwrap(path: Path, store: Store) -> None:
    custody = store.custody(LocalMasterKeys(path))
    store.keys["b"] = await custody.create("a")
    with pytest.raises(CustodyError, match="sealed-by-other"):
        await custody.data_key("b")


async def test_a_restart_finds_the_same_keys(path: Path, store: Store) -> None:
    custody = store.custody(LocalMasterKeys(path))
    store.keys["a"] = await custody.create("a")
    sealed = (await custody.data_key("a")).seal(b"secret", context="record")
    assert store.loads == 0
    restarted = store.custody(LocalMasterKeys(path))
    assert restarted.cached("a") is None
    assert (await restarted.data_key("a")).open(sealed, context="record") == b"secret"
    assert restarted.cached("a") is await restarted.data_key("a")


async def test_concurrent_loads_are_one_and_end_with_their_time(path: Path, store: Store) -> None:
    master = LocalMasterKeys(path)
    store.keys["a"] = await store.custody(master).create("a")
    custody = store.custody(master)
    keys = await asyncio.gather(*(custody.data_key("a") for _ in range(5)))
    assert len({id(key) for key in keys}) == 1
    assert store.loads == 1
    store.time = 60
    assert custody.cached("a") is None
    await custody.data_key("a")
    assert store.loads == 2


async def test_a_destroyed_key_is_gone(path: Path, store: Store) -> None:
    custody = store.custody(LocalMasterKeys(path))
    store.keys["a"] = await custody.create("a")
    del store.keys["a"]
    assert custody.cached("a")
    custody.forget("a")
    assert custody.cached("a") is None
    for _ in range(2):
        with pytest.raises(CustodyError, match="destroyed"):
            await custody.data_key("a")
    assert store.loads == 2


async def test_memory_is_bounded(path: Path, store: Store) -> None:
    custody = store.custody(LocalMasterKeys(path), capacity=2)
    for principal in ("a", "b", "c"):
        await custody.create(principal)
    assert [bool(custody.cached(principal)) for principal in ("a", "b", "c")] == [False, True, True]


async def test_rewrapping_after_a_rotation(path: Path, store: Store) -> None:
    master = LocalMasterKeys(path)
    custody = store.custody(master)
    old = await custody.create("a")
    sealed = (await custody.data_key("a")).seal(b"secret", context="record")
    assert await custody.rewrap(old, "a") is old
    master.rotate()
    new = await custody.rewrap(old, "a")
    assert (old.version, new.version) == ("1", "2")
    store.keys["a"] = new
    assert (await store.custody(master).data_key("a")).open(sealed, context="record") == b"secret"
    with pytest.raises(CustodyError, match="sealed-by-other"):
        await custody.rewrap(old, "b")


async def test_a_rotation_by_another_process_is_noticed(path: Path) -> None:
    here, there = LocalMasterKeys(path), LocalMasterKeys(path)
    there.rotate()
    wrapped = await there.wrap(bytes(32), context="a")
    assert await here.current() == "1"
    assert await here.unwrap(wrapped, context="a") == bytes(32)
    assert await here.current() == "2"


def test_the_file_is_for_its_owner_alone(path: Path) -> None:
    old = os.umask(0)
    try:
        master = LocalMasterKeys(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        master.rotate()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(old)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    path.chmod(0o640)
    with pytest.raises(CustodyError, match="chmod 600"):
        LocalMasterKeys(path)


async def test_processes_that_start_together_agree_on_a_key(path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        masters = list(pool.map(LocalMasterKeys, [path] * 8))
    wrapped = await masters[0].wrap(bytes(32), context="a")
    for master in masters:
        assert await master.unwrap(wrapped, context="a") == bytes(32)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"current": "1", "keys": {}}',
        '{"current": "1", "keys": {"1": "c2hvcnQ="}}',
        '{"current": "1", "keys": {"1": "!!"}}',
        '{"current": "1", "keys": {"x": ""}}',
        '{"current": "1", "keys": 7}',
    ],
)
def test_a_broken_file_is_named_and_not_quoted(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(CustodyError, match="key-file") as caught:
        LocalMasterKeys(path)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


async def test_no_key_is_logged_and_the_development_file_is_warned_of(
    path: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    master = LocalMasterKeys(path)
    custody = store.custody(master)
    store.keys["a"] = await custody.create("a")
    master.rotate()
    store.keys["a"] = await custody.rewrap(store.keys["a"], "a")
    custody.forget("a")
    key = await custody.data_key("a")
    with pytest.raises(CustodyError) as caught:
        key.open(b"\x01" + bytes(60), context="x")
    # What connections of tests before have to say of their end is not meant.
    warnings = [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name.startswith("tntcore")
    ]
    assert len(warnings) == 1
    assert "DEVELOPMENT ONLY" in warnings[0]
    shown = caplog.text + repr((master, custody, key, caught.value))
    for text in [*master_keys_in(path), base64.b64encode(key._key).decode()]:
        raw = base64.b64decode(text)
        for form in (text, raw.hex(), repr(raw)[2:-1], base64.urlsafe_b64encode(raw).decode().rstrip("=")):
            assert form not in shown
