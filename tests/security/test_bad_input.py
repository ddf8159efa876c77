"""Whatever a stranger sends: a clear refusal that says nothing of us, or a record for the tenant; never a webhook."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import orjson
import pytest
from yarl import URL

from tests.scenarios.common import assert_problem, basic
from tests.scenarios.foreign import Foreign, connect_foreign, connect_vectors
from tests.stack import Client, Stack
from tests.unit.envelope.samples import ATTACKS
from tntcore.api.http import Request
from tntcore.connections.connection import pairwise
from tntcore.dids.multiformats import encode_verkey
from tntcore.dids.parse import parse_document
from tntcore.envelope import MAX_WIRE, PrivateKey, pack_v1, pack_v2
from tntcore.envelope.keys import verkey_to_did_key
from tntcore.storage.records import Identity
from tntcore.tenancy.recipients import KeyPairs

MARKER = "plaintext-marker-7391"
ENVELOPE = "application/didcomm-envelope-enc"


class Log(logging.Handler):
    """Everything that the service logs, as text."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name} {self.format(record)}")


@pytest.fixture(scope="module", autouse=True)
async def logged(stack: Stack) -> AsyncIterator[Log]:
    """Of everything in this module, nothing secret is logged."""
    log, logger = Log(), logging.getLogger("tntcore")
    level = logger.level
    logger.addHandler(log)
    logger.setLevel(logging.DEBUG)
    yield log
    logging.getLogger("tntcore.api").debug("the end of what was logged")
    logger.removeHandler(log)
    logger.setLevel(level)
    text = "\n".join(log.lines)
    assert "the end of what was logged" in text
    assert MARKER not in text
    for client in stack.clients:
        assert client.key not in text
        assert client.key.removeprefix("tnt_") not in text
    for secret in SECRETS:
        assert secret not in text


SECRETS: set[str] = set()


@pytest.fixture(scope="module")
async def client(stack: Stack) -> Client:
    client = await stack.register("Attacked")
    saved = await client.webhook()
    tenant = await client.tenant()
    for secrets in (await tenant.webhooks("DIDCOMM_WEBHOOK")).secrets.values():
        SECRETS.update(secret.partition("_")[2] for secret in secrets.current)
    assert saved.got == []
    return client


@pytest.fixture
async def foreign(stack: Stack, client: Client) -> Foreign:
    """A connection of its own for each test."""
    foreign = await connect_foreign(stack, client)
    for keys in (foreign.our_keys, foreign.their_keys):
        for key in (keys.ed25519, keys.x25519):
            SECRETS.update((base64.b64encode(key.raw).decode(), key.raw.hex()))
    client.receivers[0].got.clear()
    return foreign


def message(**more: Any) -> bytes:
    return orjson.dumps(basic(MARKER, **{"@id": "1", **more}))


async def nothing_relayed(foreign: Foreign) -> None:
    """A message sent after all others is the only one that arrives."""
    last = foreign.v1(orjson.dumps(basic("last", **{"@id": "last"})))
    assert (await foreign.stack.deliver(last)).status == 202
    hook = foreign.client.receivers[0]
    await hook.until(lambda got: got.json()["connectionUuid"] == foreign.connection.uuid)
    await asyncio.sleep(0.1)
    assert [got.json()["message"].get("content") for got in hook.got] == ["last"]


async def rejected(foreign: Foreign, number: int = 1) -> list[dict[str, Any]]:
    """What is recorded as refused for this connection."""

    async def check() -> list[dict[str, Any]] | None:
        found = await foreign.client.get(f"message?status=REJECTED&connection={foreign.connection.uuid}")
        hits: list[dict[str, Any]] = found["hits"]
        return hits if len(hits) >= number else None

    hits: list[dict[str, Any]] = await foreign.stack.eventually(check)
    assert len(hits) == number
    return hits


async def accepted_and_rejected(foreign: Foreign, packed: bytes, code: str) -> dict[str, Any]:
    """That the sender learns nothing, and the tenant why."""
    answer = await foreign.stack.deliver(packed)
    assert (answer.status, answer.body) == (202, b"")
    [record] = await rejected(foreign)
    assert (record["status"], record["error"], record["authenticated"]) == ("REJECTED", code, False)
    assert (record["contactUuid"], record["actionUuid"]) == (None, None)
    return record


def changed(packed: bytes, **members: Any) -> bytes:
    return orjson.dumps({**orjson.loads(packed), **members})


def protected_of(packed: bytes) -> dict[str, Any]:
    text = orjson.loads(packed)["protected"]
    value: dict[str, Any] = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return value


def protect(value: Any) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).decode()


# What is refused at the door.


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "message-not-json"),
        (b"not JSON", 400, "message-not-json"),
        (b"\xff\xfe\x00", 400, "message-not-json"),
        (b"\xef\xbb\xbf{}", 400, "message-not-json"),
        (b'{"protected": "\xff"}', 400, "message-not-json"),
        (b"{} {}", 400, "message-not-json"),
        (b"{", 400, "message-not-json"),
        (b"NaN", 400, "message-not-json"),
        (b"null", 400, "message-not-an-envelope"),
        (b"[]", 400, "message-not-an-envelope"),
        (b'"text"', 400, "message-not-an-envelope"),
        (b"42", 400, "message-not-an-envelope"),
        (b"{}", 400, "message-not-an-envelope"),
        (b'{"hello": "world"}', 400, "message-not-an-envelope"),
        (b'{"ciphertext": "x"}', 400, "message-malformed"),
        (b'{"ciphertext": "x", "protected": 1}', 400, "message-malformed"),
        (b'{"ciphertext": "x", "protected": "e30="}', 400, "message-not-an-envelope"),
        (b'{"ciphertext": "x", "protected": "bm90IGpzb24="}', 400, "message-not-json"),
        (b'{"payload": "e30", "signatures": []}', 400, "message-malformed"),
        (b"[" * 10_000, 400, "message-too-deep"),
        (b"[" * 10_000 + b"]" * 10_000, 400, "message-too-deep"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400, "message-too-deep"),
        (b'{"targetPrincipalUuid": "x", "message": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", 400, "message-too-deep"),
        (b'{"@type": "https://didcomm.org/basicmessage/1.0/message", "@id": "1"}', 400, "message-not-encrypted"),
        (b'{"type": "https://didcomm.org/basicmessage/2.0/message", "id": "1"}', 400, "message-not-encrypted"),
        (b" " * MAX_WIRE + b" ", 413, "message-too-large"),
        (b'{"a": "' + b"x" * (MAX_WIRE - 8) + b'"}', 413, "message-too-large"),
        (b'{"targetPrincipalUuid": "x", "message": "' + b"x" * 2 * MAX_WIRE + b'"}', 413, "message-too-large"),
    ],
    ids=lambda value: repr(value[:30]) if isinstance(value, bytes) else "",
)
async def test_refused_at_the_door(stack: Stack, client: Client, body: bytes, status: int, code: str) -> None:
    before = await client.get("message")
    for media_type in ("application/json", ENVELOPE) if len(body) < 100_000 else (ENVELOPE,):
        problem = assert_problem(await stack.deliver(body, media_type), status, code)
        assert "Traceback" not in str(problem)
        assert "tntcore" not in str(problem)
        assert len(str(problem)) < 600
    assert await client.get("message") == before


async def test_as_large_as_may_be(stack: Stack) -> None:
    """One byte less is read."""
    packed = pack_v1(message(), recipients=[KeyPairs.generate().verkey], sender=None)
    padded = packed[:-1] + b" " * (MAX_WIRE - len(packed)) + b"}"
    assert len(padded) == MAX_WIRE
    assert_problem(await stack.deliver(padded), 404, "recipient-unknown")
    assert_problem(await stack.deliver(padded + b" "), 413, "message-too-large")


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/octet-stream", "application/x-www-form-urlencoded", "x", "", "a/b; c=d"]
)
async def test_unknown_media_type(stack: Stack, foreign: Foreign, media_type: str) -> None:
    packed = foreign.v1(message())
    assert_problem(await stack.deliver(packed, media_type), 415, "unsupported-media-type")
    await nothing_relayed(foreign)


async def test_unknown_recipients(stack: Stack, foreign: Foreign) -> None:
    keys = KeyPairs.generate()
    document = pairwise(stack.app.services, keys)
    for packed in (
        pack_v1(message(), recipients=[keys.verkey], sender=None),
        pack_v1(message(), recipients=[keys.verkey, foreign.their_keys.verkey], sender=foreign.their_keys.ed25519),
        pack_v2({"id": "1", "type": "t", "body": {}}, to=document),
        changed(pack_v2({"id": "1", "type": "t", "body": {}}, to=foreign.ours), recipients=[{"header": {"kid": "x"}}]),
    ):
        assert_problem(await stack.deliver(packed), 404, "recipient-unknown")
    await nothing_relayed(foreign)


async def test_too_many_recipients(stack: Stack, foreign: Foreign) -> None:
    packed = foreign.v1(message())
    header = protected_of(packed)
    v2 = pack_v2({"id": "1", "type": "t", "body": {}}, to=foreign.ours)
    entry = orjson.loads(v2)["recipients"][0]
    for number, code, status in ((40, "message-too-many-recipients", 400), (33, "message-too-many-recipients", 400)):
        many = changed(packed, protected=protect({**header, "recipients": header["recipients"] * number}))
        assert_problem(await stack.deliver(many), status, code)
        others = [{**entry, "header": {"kid": f"did:example:x#{other}"}} for other in range(number)]
        assert_problem(await stack.deliver(changed(v2, recipients=others)), status, code)
    await nothing_relayed(foreign)


async def test_deep_headers(stack: Stack, foreign: Foreign) -> None:
    deep = b"[" * 10_000 + b"]" * 10_000
    packed = orjson.loads(foreign.v1(message()))
    for member in ("unprotected", "x"):
        body = orjson.dumps(packed)[:-1] + b',"%b":%b}' % (member.encode(), deep)
        assert_problem(await stack.deliver(body), 400, "message-too-deep")
    header = base64.urlsafe_b64encode(b'{"alg":' + deep + b"}").decode()
    assert_problem(await stack.deliver(orjson.dumps({**packed, "protected": header})), 400, "message-too-deep")
    await nothing_relayed(foreign)


# What is found out later, and recorded.


async def test_encrypted_for_another_key(foreign: Foreign) -> None:
    """Our key is named, but the message is for another's."""
    other = KeyPairs.generate()
    packed = pack_v1(message(), recipients=[other.verkey], sender=foreign.their_keys.ed25519)
    header = protected_of(packed)
    header["recipients"][0]["header"]["kid"] = foreign.our_keys.verkey
    record = await accepted_and_rejected(foreign, changed(packed, protected=protect(header)), "cannot-decrypt")
    assert record["envelope"]["ciphertext"]
    assert record["type"] == ""
    assert record["actionUuid"] is None
    assert "message" not in record
    await nothing_relayed(foreign)


@pytest.mark.parametrize("member", ["ciphertext", "tag", "iv"])
async def test_tampered_v1(foreign: Foreign, member: str) -> None:
    packed = foreign.v1(message())
    text = orjson.loads(packed)[member]
    tampered = changed(packed, **{member: ("A" if text[0] != "A" else "B") + text[1:]})
    await accepted_and_rejected(foreign, tampered, "tampered")
    await nothing_relayed(foreign)


async def test_tampered_header_v1(foreign: Foreign) -> None:
    packed = foreign.v1(message())
    tampered = changed(packed, protected=protect({**protected_of(packed), "x": 1}))
    await accepted_and_rejected(foreign, tampered, "tampered")
    await nothing_relayed(foreign)


@pytest.mark.parametrize("member", ["ciphertext", "tag", "iv", "protected"])
async def test_tampered_v2(stack: Stack, client: Client, foreign: Foreign, member: str) -> None:
    v2 = await connect_foreign(stack, client, "v2")
    packed = v2.v2({"body": {"content": MARKER}})
    if member == "protected":
        tampered = changed(packed, protected=protect({**protected_of(packed), "x": 1}).rstrip("="))
    else:
        text = orjson.loads(packed)[member]
        tampered = changed(packed, **{member: ("A" if text[0] != "A" else "B") + text[1:]})
    await accepted_and_rejected(v2, tampered, "cannot-decrypt")
    await nothing_relayed(foreign)


@pytest.mark.parametrize("missing", ["iv", "tag"])
async def test_incomplete(foreign: Foreign, missing: str) -> None:
    packed = orjson.loads(foreign.v1(message()))
    del packed[missing]
    answer = await foreign.stack.deliver(orjson.dumps(packed))
    assert answer.status in (202, 400)
    if answer.status == 202:
        assert (await rejected(foreign))[0]["error"] == "malformed"
    await nothing_relayed(foreign)


async def test_a_sender_that_is_not_the_connections(foreign: Foreign) -> None:
    stranger = PrivateKey.generate("Ed25519")
    record = await accepted_and_rejected(foreign, foreign.v1(message(), sender=stranger), "sender-not-connection")
    assert (record["from"], record["message"]["content"]) == (None, MARKER)
    await nothing_relayed(foreign)


async def test_a_v2_sender_that_is_not_the_connections(stack: Stack, client: Client, foreign: Foreign) -> None:
    v2 = await connect_foreign(stack, client, "v2")
    keys = KeyPairs.generate()
    stranger = pairwise(stack.app.services, keys)
    packed = pack_v2(
        {"id": "1", "type": "t", "body": {"content": MARKER}, "from": stranger.id, "to": [v2.ours.id]},
        to=v2.ours,
        from_=(stranger, keys.by_kid(stranger)),
    )
    await accepted_and_rejected(v2, packed, "sender-not-connection")
    await nothing_relayed(foreign)


async def test_a_v2_sender_that_cannot_be_resolved(stack: Stack, client: Client, foreign: Foreign) -> None:
    v2 = await connect_foreign(stack, client, "v2")
    keys = KeyPairs.generate()
    raw = orjson.loads(orjson.dumps(pairwise(stack.app.services, keys).raw))
    text = orjson.dumps(raw).decode().replace(raw["id"], "did:example:nobody")
    stranger = parse_document(orjson.loads(text))
    packed = pack_v2(
        {"id": "1", "type": "t", "body": {"content": MARKER}, "from": stranger.id, "to": [v2.ours.id]},
        to=v2.ours,
        from_=(stranger, keys.by_kid(stranger)),
    )
    await accepted_and_rejected(v2, packed, "sender-unresolvable")
    await nothing_relayed(foreign)


async def test_an_unknown_sender_at_an_identitys_key(stack: Stack, client: Client, foreign: Foreign) -> None:
    tenant = await client.tenant()
    identity = await tenant.records.get(Identity, client.identity["uuid"])
    assert identity is not None
    document = parse_document(identity.document)
    verkey = next(method.key for method in document.methods.values() if method.key.curve == "Ed25519")
    for recipient in (encode_verkey(verkey), verkey_to_did_key(encode_verkey(verkey))):
        packed = pack_v1(message(**{"@id": recipient}), recipients=[recipient], sender=PrivateKey.generate("Ed25519"))
        assert (await stack.deliver(packed)).status == 202

    async def found() -> list[Any] | None:
        hits = (await client.get("message?status=REJECTED&limit=200"))["hits"]
        hits = [hit for hit in hits if hit["error"] == "sender-unknown"]
        return hits if len(hits) == 2 else None

    for hit in await stack.eventually(found):
        assert (hit["from"], hit["to"]) == (None, client.identity["did"])
        assert (hit["connectionUuid"], hit["contactUuid"], hit["authenticated"]) == (None, None, False)
    await nothing_relayed(foreign)


REFUSED_AT_THE_DOOR = {
    "zip DEF small": "message-zip-refused",
    "zip DEF bomb 200MB": "message-zip-refused",
    "from-mismatch signed (from=carol, kid=alice)": "message-not-encrypted",
}
RECORDED = {
    "from-mismatch authcrypt (from=carol, skid=alice)": "addressing-from-mismatch",
    "from-missing authcrypt": "addressing-from-missing",
    "to-mismatch authcrypt (to=carol)": "addressing-to-mismatch",
    "epk all-zero X25519": "low-order-epk",
    "deep nested JSON plaintext": "too-deep",
}
OPENED = {"anoncrypt with from=carol": False, "signed by alice inside authcrypt by alice ok-control": True}


@pytest.mark.parametrize("name", sorted(ATTACKS))
async def test_attacks(stack: Stack, client: Client, foreign: Foreign, name: str) -> None:
    bob = await connect_vectors(stack, client, "v2")
    packed = ATTACKS[name].encode()
    if name in REFUSED_AT_THE_DOOR:
        assert_problem(await stack.deliver(packed), 400, REFUSED_AT_THE_DOOR[name])
    elif name in RECORDED:
        await accepted_and_rejected(bob, packed, RECORDED[name])
    else:
        assert (await stack.deliver(packed)).status == 202
        hook = await client.receivers[0].until(lambda hook: hook.json()["connectionUuid"] == bob.connection.uuid)
        got = hook.json()
        assert got["authenticated"] is OPENED[name]
        assert got["from"] == (bob.theirs.id if OPENED[name] else None)
        assert got["contactUuid"] == (bob.connection.contact_uuid if OPENED[name] else None)
        return
    await nothing_relayed(foreign)


async def test_the_same_forgery_again_is_recorded_once(foreign: Foreign) -> None:
    packed = foreign.v1(message())
    text = orjson.loads(packed)["tag"]
    forged = changed(packed, tag=("A" if text[0] != "A" else "B") + text[1:])
    for _ in range(3):
        assert (await foreign.stack.deliver(forged)).status == 202
    await nothing_relayed(foreign)
    await rejected(foreign, 1)


async def test_random_changes(foreign: Foreign) -> None:
    """Any byte changed: refused at the door or recorded, never an error of ours, never relayed."""
    packed = foreign.v1(message())
    statuses = set()
    for position in range(0, len(packed), 41):
        flipped = bytes([packed[position] ^ 1])
        answer = await foreign.stack.deliver(packed[:position] + flipped + packed[position + 1 :])
        statuses.add(answer.status)
    assert statuses <= {202, 400, 404}
    for _ in range(20):
        answer = await foreign.stack.deliver(os.urandom(200))
        assert answer.status == 400
    await nothing_relayed(foreign)


# What a tenant, or who guesses at being one, sends to the other routes.


@pytest.mark.parametrize(
    "route", ["POST action", "POST contact", "POST identity", "POST api-token", "PUT settings/DIDCOMM_WEBHOOK"]
)
@pytest.mark.parametrize(
    ("body", "media_type", "status", "code"),
    [
        (b"", "application/json", 400, "body-not-json"),
        (b"{", "application/json", 400, "body-not-json"),
        (b"\xff", "application/json", 400, "body-not-json"),
        (b'{"a": "\\ud800"}', "application/json", 400, "body-not-json"),
        (b"[]", "application/json", 400, "body-not-an-object"),
        (b"null", "application/json", 400, "body-not-an-object"),
        (b"[" * 10_000 + b"]" * 10_000, "application/json", 400, "body-not-json"),
        (b"{}", "text/plain", 415, "unsupported-media-type"),
        (b'{"a": "' + b"x" * 7_000_000 + b'"}', "application/json", 413, "body-too-large"),
    ],
    ids=["empty", "cut", "not UTF-8", "surrogate", "array", "null", "deep", "media type", "large"],
)
async def test_bodies(client: Client, route: str, body: bytes, media_type: str, status: int, code: str) -> None:
    method, path = route.split()
    assert_problem(await client.call(method, path, body, content_type=media_type), status, code)


@pytest.mark.parametrize(
    "path",
    [
        "message?limit=0",
        "message?limit=201",
        "message?limit=x",
        "message?limit=%C2%B2",
        "message?since=yesterday",
        "message?since=9999999999999",
        "message?since=0001-01-01T00:00:00Z",
        "message?since=" + "9" * 5000,
        "message?next=%00",
        "message?next=a%2Fb",
        "message?next=" + "x" * 3000,
        "message?next=%F0%9F%99%82",
        "message?action=%00",
        "message?status=" + "x" * 5000,
        "message?type=" + "x" * 5000,
        "message?type=%27%20or%20true%20or%20%27",
        "contact?did=%01%02",
        "message/%00",
        "message/" + "x" * 3000,
        "message/a%2Fb",
        "message/a%5Cb%23%3F",
        "message/%F0%9F%99%82",
        "message/..%2Fprincipal",
        "contact/did:example:%00",
        "contact/did:" + "x" * 5000,
        "identity/did:%27",
        "identity/%20",
        "settings/%00",
        "settings/" + "x" * 5000,
        "delivery/~",
        "asset-data/'",
        "identity/x%00y/did.json",
        "identity/" + "x" * 5000 + "/did.json",
    ],
    ids=lambda path: path[:40],
)
async def test_hostile_paths_and_queries(client: Client, path: str) -> None:
    """Not found, or refused, or an empty list: never an error of ours."""
    url = URL(f"{client.stack.url}/api/{path}", encoded=True)
    async with client.stack.session.get(url, headers={"tnt-subscription-key": client.key}) as answer:
        body = await answer.read()
        status, media_type = answer.status, answer.content_type
    if "%00" in path.partition("?")[0]:
        # The host's server refuses a NUL itself. Another host may not.
        assert (status, body) == (400, b"")
        request = Request("GET", unquote(path), {}, {"tnt-subscription-key": client.key}, b"")
        told = await client.stack.app.http(request)
        status, media_type, body = told.status, told.content_type, told.body
    assert status in (200, 400, 404), body
    if status == 200:
        assert "?" in path
    else:
        assert media_type == "application/problem+json"


@pytest.mark.parametrize(
    ("route", "body", "code"),
    [
        ("POST contact", {}, "contact-invalid"),
        ("POST contact", {"contact": []}, "contact-invalid"),
        ("POST contact", {"contact": {}}, "contact-invalid"),
        ("POST contact", {"contact": {"did": "no DID"}}, "contact-invalid"),
        ("POST contact", {"contact": {"did": 1}}, "did-invalid"),
        ("POST contact", {"contact": {"email": {}}}, "email-invalid"),
        ("POST contact", {"contact": {"did": "did:x:" + "y" * 5000}}, "did-invalid"),
        ("POST contact", {"contact": {"email": "a@b", "displayName": "x" * 201}}, "display-name-invalid"),
        ("POST identity", {"method": "did:indy"}, "method-unsupported"),
        ("POST identity", {"displayName": 1}, "display-name-invalid"),
        ("POST api-token", {"name": ["x"]}, "name-invalid"),
    ],
    ids=str,
)
async def test_bad_values(client: Client, route: str, body: Any, code: str) -> None:
    method, path = route.split()
    assert_problem(await client.call(method, path, body), 400, code)


async def test_secrets_in_requests_are_not_repeated(client: Client) -> None:
    """Neither in an answer nor, as the module's own check has it, in the log."""
    for path in (f"message/{MARKER}x", "action"):
        answer = await client.call("GET", path)
        assert client.key.encode() not in answer.body
    answer = await client.call("POST", "action", {"type": "DIDCOMM", "to": "x", "data": {"message": basic(MARKER)}})
    assert MARKER.encode() not in answer.body
