"""Messages stay as they were written: their numbers, what is nested deep, and what is no JSON by the letter."""

from __future__ import annotations

import json

import orjson
import pytest

from tests.scenarios.common import BASIC, assert_problem
from tests.scenarios.foreign import Foreign, connect_foreign
from tests.stack import Client, Stack
from tntcore.dids.document import Version
from tntcore.envelope import v2
from tntcore.strict_json import SHOWN_DEPTH, is_deep, write_json

NUMBERS = b"[12.50,1E+2,12345678901234567890123,12345678901234567.89,-0,0.00001,1.5,7]"


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_numbers_stay_as_the_tenant_wrote_them(
    stack: Stack, pair: tuple[Client, Client], version: Version
) -> None:
    acme, bolt = pair
    hook = await bolt.webhook()
    mine, _ = await stack.connect(acme, bolt, version)
    attached = b'[{"@id":"a","data":{"json":{"n":' + NUMBERS + b"}}}]"
    message = b'{"@type":"' + BASIC.encode() + b'","n":' + NUMBERS + b',"n~attach":' + attached + b"}"
    to = mine.contact_uuid.encode()
    answer = await acme.call(
        "POST", "action", b'{"type":"DIDCOMM","to":"' + to + b'","data":{"message":' + message + b"}}"
    )
    assert answer.status == 201
    assert NUMBERS in answer.body
    got = await hook.until(lambda hook: True)
    assert got.body.count(NUMBERS) == 2
    told = got.json()
    for path in (f"message/{told['assetUuid']}", "message", f"asset-data/{told['assetDataUuids'][0]}"):
        assert NUMBERS in (await bolt.call("GET", path)).body
    [sent] = (await acme.get(f"message?action={answer.json()['uuid']}"))["hits"]
    assert NUMBERS in (await acme.call("GET", f"message/{sent['uuid']}")).body


@pytest.fixture(scope="module")
async def foreign(stack: Stack) -> Foreign:
    client = await stack.register("Exact")
    await client.webhook()
    return await connect_foreign(stack, client)


async def test_what_is_nested_deep_is_given_as_text(stack: Stack, foreign: Foreign) -> None:
    deep = b"[" * 80 + b"12.50" + b"]" * 80
    await stack.deliver(foreign.v1(b'{"@type":"deep","a":' + deep + b',"b":1}'))
    got = await foreign.client.receivers[0].until(lambda hook: hook.json()["type"] == "deep")
    for body in (got.body, (await foreign.client.call("GET", f"message/{got.json()['assetUuid']}")).body):
        assert not is_deep(body, SHOWN_DEPTH)
        message = json.loads(body)["message"]
        assert message["b"] == 1
        inner = message["a"]
        while isinstance(inner, list):
            [inner] = inner
        assert inner.keys() == {"tooDeep"}
        assert inner["tooDeep"].encode() in deep


@pytest.mark.parametrize(
    "plaintext",
    [
        b'\xef\xbb\xbf{"@type":"lenient/0","content":"x"}',
        b'{"@type":"lenient/1","content":"half \\ud83d"}',
        b'{"@type":"lenient/2","content":"two\nlines"}',
        '{"@type":"lenient/3","content":"\xe9"}'.encode("latin-1"),
        b'{"@type":"lenient/4","content":NaN}',
    ],
)
async def test_a_message_that_is_no_json_by_the_letter_has_a_type(
    stack: Stack, foreign: Foreign, plaintext: bytes
) -> None:
    type_ = plaintext.partition(b"lenient/")[2][:1].decode()
    await foreign.client.webhook("^lenient/")
    assert (await stack.deliver(foreign.v1(plaintext))).status == 202
    got = (await foreign.client.receivers[-1].until(lambda hook: hook.json()["type"] == f"lenient/{type_}")).json()
    try:
        assert got["message"] == plaintext.decode()
    except UnicodeDecodeError:
        assert got["message"].keys() == {"base64"}
    assert (await foreign.client.get(f"message/{got['assetUuid']}"))["message"] == got["message"]
    hits = (await foreign.client.get(f"message?type=lenient/{type_}"))["hits"]
    assert [hit["uuid"] for hit in hits] == [got["assetUuid"]]


async def test_so_has_one_of_didcomm_v2(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await stack.register("Exact 2")
    hook = await client.webhook()
    foreign = await connect_foreign(stack, client, "v2")
    with monkeypatch.context() as patched:
        patched.setattr(
            v2,
            "write_json",
            lambda message: write_json(message).replace(b"HALF", b"\\ud83d"),
        )
        packed = foreign.v2({"type": "half", "body": {"content": "HALF"}})
    assert (await stack.deliver(packed)).status == 202
    got = (await hook.until(lambda hook: True)).json()
    assert got["type"] == "half"
    assert got["authenticated"] is True
    assert "\\ud83d" in got["message"]


async def test_a_member_that_is_given_twice_is_refused(stack: Stack, foreign: Foreign) -> None:
    answer = await foreign.client.call("POST", "contact", b'{"contact":{"email":"a@b.example","email":"c@d.example"}}')
    assert "'email' is given more than once" in assert_problem(answer, 400, "body-not-json")["detail"]
    answer = await foreign.client.call("POST", "contact", orjson.dumps({"contact": {}})[:-1])
    assert_problem(answer, 400, "body-not-json")
