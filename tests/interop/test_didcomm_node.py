"""DIDComm v2 with the Rust library didcomm, as WebAssembly in Node.js: what it packs we take, what we pack it opens."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest

from devtools import peers
from tests.interop.tenant import Entity, accept, until_connected, until_state
from tests.scenarios.agent import BASIC_2, PING, Agent
from tests.scenarios.v2 import invite, inviter, received
from tests.stack import Client, Receiver, Stack
from tntcore.dids import peer
from tntcore.dids.document import DidDocument, PublicKey
from tntcore.envelope import base64url, peek
from tntcore.tenancy.recipients import KeyPairs

pytestmark = pytest.mark.interop

DRIVER = Path(__file__).with_name("didcomm_node.js")
PONG = "https://didcomm.org/trust-ping/2.0/ping-response"
PATIENCE = 20.0  # seconds


@dataclass(frozen=True)
class Opened:
    """A message as the library unpacked it, and what it says of the envelope."""

    message: Entity
    meta: Entity

    @property
    def sender(self) -> str:
        """The DID whose key encrypted it."""
        assert self.meta["encrypted"]
        assert self.meta["authenticated"]
        return str(self.meta["encrypted_from_kid"]).partition("#")[0]


class Library:
    """The driver's process, with all documents and keys that it has been given."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._docs: dict[str, Entity] = {}
        self._secrets: dict[str, Entity] = {}

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator[Library]:
        folder = await asyncio.to_thread(peers.install, "didcomm-node")
        command = ["node", str(DRIVER), str(folder)]
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=1 << 24)
        try:
            yield cls(process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def learn(self, document: DidDocument, keys: KeyPairs | None = None) -> None:
        """In the library's own form: keys as JWK, whatever the document had."""
        self._docs[document.id] = {
            "id": document.id,
            "authentication": document.authentication,
            "keyAgreement": document.key_agreement,
            "verificationMethod": [
                {"id": kid, "controller": document.id, "type": "JsonWebKey2020", "publicKeyJwk": jwk(method.key)}
                for kid, method in document.methods.items()
            ],
            "service": [],
        }
        for kid, key in keys.by_kid(document).items() if keys else ():
            private = {**jwk(key.public), "d": base64url.encode(key.raw).decode()}
            self._secrets[kid] = {"id": kid, "type": "JsonWebKey2020", "privateKeyJwk": private}

    async def ask(self, op: str, **question: Any) -> Entity:
        """Fails when the library refuses."""
        asked = orjson.dumps({"op": op, "docs": self._docs, "secrets": self._secrets, **question})
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(asked + b"\n")
        async with asyncio.timeout(PATIENCE):
            answer: Entity = orjson.loads(await self._process.stdout.readline() or b'{"error": "the driver ended"}')
        assert "error" not in answer, f"{op}: {answer['error']}"
        return answer


class NodeAgent:
    """An agent whose envelopes and proofs the library makes and reads; its keys, DID and inbox are an `Agent`'s."""

    def __init__(self, agent: Agent, library: Library) -> None:
        self._agent, self._library = agent, library
        self._met: dict[str, DidDocument] = {}
        self._know_myself()

    @property
    def document(self) -> DidDocument:
        return self._agent.document

    @property
    def did(self) -> str:
        return self._agent.did

    def _know_myself(self) -> None:
        self._library.learn(self.document, self._agent.keys)

    async def rotate(self) -> str:
        """Takes a new DID, beside whose keys it keeps the former; the library's `from_prior` for it."""
        before = self.document
        self._agent.keys = KeyPairs.generate()
        self._agent.document = self._agent.peer_2()
        self._know_myself()
        kid = before.authentication[0]
        claims = {"iss": before.id, "sub": self.did, "iat": 1_700_000_000}
        made = await self._library.ask("fromPrior", claims=claims, kid=kid)
        assert made["kid"] == kid
        return str(made["jwt"])

    def meet(self, document: DidDocument) -> None:
        """Whose DID says less than its document."""
        self._met[document.id] = document
        self._library.learn(document)

    async def send(self, message: Entity, to: str, *, signed: bool = False) -> Entity:
        """What the library says of the envelope that it made."""
        self._library.learn(self._met.get(to) or peer.resolve(to))
        whole = {"typ": "application/didcomm-plain+json", "from": self.did, "to": [to], "body": {}, **message}
        more = {"signBy": self.did} if signed else {}
        made = await self._library.ask("pack", message=whole, to=to, **{"from": self.did}, **more)
        answer = await self._agent.deliver(made["packed"].encode())
        assert answer.status == 202, answer.body
        return dict(made["meta"])

    async def heard(self, type_: str, **members: Any) -> Opened:
        """The first message of that type with these members. All that came before it opens, too."""
        for number in count():
            await self._agent.inbox.count(number + 1, PATIENCE)
            packed = self._agent.inbox.got[number].body
            opened = await self._open(packed)
            if {**opened.message, **members, "type": type_} == opened.message:
                return opened
        raise AssertionError

    async def _open(self, packed: bytes) -> Opened:
        sender = (peek(packed).sender_kid or "").partition("#")[0]
        self._library.learn(peer.resolve(sender))
        found = await self._library.ask("unpack", packed=packed.decode())
        return Opened(found["message"], found["meta"])


def jwk(key: PublicKey) -> dict[str, str]:
    """Of an Ed25519 or X25519 key (RFC 8037, section 2)."""
    return {"kty": "OKP", "crv": key.curve, "x": base64url.encode(key.raw).decode()}


def basic_2(content: str) -> Entity:
    return {"type": BASIC_2, "body": {"content": content}}


async def arrived(tenant: Client, content: str) -> Entity:
    """The accepted message."""
    got = await received(tenant, content)
    assert (got["status"], got["authenticated"], got["error"]) == ("RECEIVED", True, None)
    return got


async def until_received(tenant: Client, type_: str) -> Entity:
    """The message of that type that the service has stored."""

    async def check() -> Entity | None:
        hits: list[Entity] = (await tenant.get("message?direction=IN"))["hits"]
        return next((hit for hit in hits if hit["type"] == type_), None)

    return dict(await tenant.stack.eventually(check, PATIENCE))


async def connect(tenant: Client, node: NodeAgent) -> tuple[Entity, Opened]:
    """The connection by an invitation of ours that the node answers with a ping, and our answer to that."""
    invited = await invite(tenant)
    ping = {"id": "ping", "type": PING, "pthid": invited["invitation"]["id"], "body": {"response_requested": True}}
    await node.send(ping, inviter(invited).id)
    pong = await node.heard(PONG, thid="ping")
    # Who is invited learns the inviter's own DID by a proof, which the library has checked.
    prior = pong.meta["from_prior"]
    assert (prior["iss"], prior["sub"]) == (invited["invitation"]["from"], pong.message["from"])
    assert pong.meta["from_prior_issuer_kid"] == inviter(invited).authentication[0]
    assert pong.sender == pong.message["from"] != invited["invitation"]["from"]
    [connection] = await until_connected(tenant)
    assert (connection["theirDid"], connection["myDid"]) == (node.did, pong.sender)
    return connection, pong


@pytest.fixture
async def node(stack: Stack) -> AsyncIterator[NodeAgent]:
    async with Library.running() as library:
        inbox = Receiver()
        await inbox.start()
        yield NodeAgent(Agent(stack, inbox), library)
        await inbox.stop()


async def test_node_answers_our_invitation(tenant: Client, node: NodeAgent) -> None:
    connection, pong = await connect(tenant, node)
    await node.send({"id": "1", **basic_2("from node")}, pong.sender)
    got = await arrived(tenant, "from node")
    assert (got["connectionUuid"], got["contactUuid"]) == (connection["uuid"], connection["contactUuid"])
    await tenant.act(connection["contactUuid"], basic_2("to node"))
    heard = await node.heard(BASIC_2, body={"content": "to node"})
    assert (heard.sender, heard.message["to"]) == (pong.sender, [node.did])
    assert "from_prior" not in heard.message


async def test_we_answer_an_invitation_of_nodes(tenant: Client, node: NodeAgent) -> None:
    invitation = {
        "type": "https://didcomm.org/out-of-band/2.0/invitation",
        "id": "by-node",
        "from": node.did,
        "body": {"accept": ["didcomm/v2"]},
    }
    contact = await accept(tenant, invitation)
    ping = await node.heard(PING, pthid="by-node")
    assert (ping.message["from"], ping.message["to"]) == (ping.sender, [node.did])
    assert ping.message["body"]["response_requested"] is True
    await tenant.act(contact["uuid"], basic_2("not answered yet"))
    assert (await node.heard(BASIC_2, body={"content": "not answered yet"})).message["pthid"] == "by-node"
    await node.send({"id": "pong", "type": PONG, "thid": ping.message["id"]}, ping.sender)
    pong = await until_received(tenant, PONG)
    assert (pong["status"], pong["authenticated"], pong["error"]) == ("RECEIVED", True, None)
    connection = await until_state(tenant, contact["connectionUuid"], "completed")
    assert (connection["theirDid"], connection["myDid"]) == (node.did, ping.sender)
    # It has been answered, so we say no more which invitation we came by.
    await tenant.act(contact["uuid"], basic_2("answered"))
    assert "pthid" not in (await node.heard(BASIC_2, body={"content": "answered"})).message
    await node.send({"id": "1", **basic_2("from the inviter")}, ping.sender)
    assert (await arrived(tenant, "from the inviter"))["contactUuid"] == contact["uuid"]


async def test_node_answers_what_is_attached_to_a_public_dids_invitation(tenant: Client, node: NodeAgent) -> None:
    request = {"@type": "https://example.org/trade/1.0/offer", "price": 3}
    invited = await invite(tenant, publicDid=True, requests=[request])
    content = invited["invitation"]
    did = content["from"]
    public = await tenant.stack.app.services.resolver.resolve(did)
    node.meet(public)
    offer = content["attachments"][0]["data"]["json"]
    assert (did, offer["from"], offer["body"]) == (tenant.identity["did"], did, {"price": 3})
    thread = {"thid": offer["id"], "pthid": content["id"]}
    await node.send({"id": "1", **thread, **basic_2("yes")}, did)
    got = await arrived(tenant, "yes")
    await tenant.post(f"action/{got['actionUuid']}", {"data": {"message": basic_2("good")}}, 200)
    heard = await node.heard(BASIC_2, body={"content": "good"}, thid=offer["id"])
    prior = heard.meta["from_prior"]
    assert (prior["iss"], prior["sub"]) == (did, heard.sender)
    await node.send({"id": "2", "thid": offer["id"], **basic_2("thanks")}, heard.sender)
    assert (await arrived(tenant, "thanks"))["actionUuid"] == got["actionUuid"]


async def test_we_answer_what_is_attached_to_an_invitation_of_nodes(tenant: Client, node: NodeAgent) -> None:
    hook = tenant.receivers[0]
    offer = {"type": "https://example.org/trade/1.0/offer", "id": "offer", "from": node.did, "body": {"price": 3}}
    attached = [{"id": "request-0", "media_type": "application/didcomm-plain+json", "data": {"json": offer}}]
    invitation = {
        "type": "https://didcomm.org/out-of-band/2.0/invitation",
        "id": "asked-by-node",
        "from": node.did,
        "body": {"accept": ["didcomm/v2"]},
        "attachments": attached,
    }
    await accept(tenant, invitation)
    ping = await node.heard(PING, pthid="asked-by-node")
    await node.send({"id": "pong", "type": PONG, "thid": ping.message["id"]}, ping.sender)
    await until_received(tenant, PONG)
    got = (await hook.until(lambda hook: hook.json()["message"]["id"] == "offer")).json()
    await tenant.post(f"action/{got['actionUuid']}", {"data": {"message": basic_2("yes")}}, 200)
    answer = await node.heard(BASIC_2, body={"content": "yes"})
    assert (answer.message["thid"], answer.message["pthid"]) == ("offer", "asked-by-node")


async def test_node_takes_a_new_did(tenant: Client, node: NodeAgent) -> None:
    connection, pong = await connect(tenant, node)
    former = node.did
    proof = await node.rotate()
    await node.send({"id": "1", **basic_2("by a new name"), "from_prior": proof}, pong.sender)
    assert (await arrived(tenant, "by a new name"))["connectionUuid"] == connection["uuid"]
    [after] = await until_connected(tenant)
    assert (after["uuid"], after["myDid"]) == (connection["uuid"], pong.sender)
    assert after["theirDid"] == node.did != former
    await tenant.act(connection["contactUuid"], basic_2("to the new name"))
    heard = await node.heard(BASIC_2, body={"content": "to the new name"})
    assert heard.message["to"] == [node.did]
    assert {kid.partition("#")[0] for kid in heard.meta["encrypted_to_kids"]} == {node.did}


async def test_we_take_a_new_did(tenant: Client, node: NodeAgent) -> None:
    """Which the library checks. The end of a relationship it cannot read: to it, every `from_prior` has a `sub`."""
    connection, pong = await connect(tenant, node)
    await node.send({"id": "1", **basic_2("to the former name")}, pong.sender)
    await arrived(tenant, "to the former name")
    after = await tenant.post(f"connection/{connection['uuid']}/rotate", {}, 200)
    assert after["myDid"] != pong.sender
    empty = await node.heard("https://didcomm.org/empty/1.0/empty")
    await tenant.act(connection["contactUuid"], basic_2("by a new name"))
    for heard in (empty, await node.heard(BASIC_2, body={"content": "by a new name"})):
        prior = heard.meta["from_prior"]
        assert (prior["iss"], prior["sub"]) == (pong.sender, after["myDid"])
        assert heard.meta["from_prior_issuer_kid"].partition("#")[0] == pong.sender
        assert heard.sender == heard.message["from"] == after["myDid"]
    await node.send({"id": "2", **basic_2("to the new name")}, after["myDid"])
    assert (await arrived(tenant, "to the new name"))["connectionUuid"] == connection["uuid"]
    await tenant.act(connection["contactUuid"], basic_2("known by it"))
    assert "from_prior" not in (await node.heard(BASIC_2, body={"content": "known by it"})).message


async def test_node_signs_what_it_encrypts(tenant: Client, node: NodeAgent) -> None:
    connection, pong = await connect(tenant, node)
    made = await node.send({"id": "1", **basic_2("signed")}, pong.sender, signed=True)
    assert made["sign_by_kid"] == node.document.authentication[0]
    assert made["from_kid"] == node.document.key_agreement[0]
    assert (await arrived(tenant, "signed"))["connectionUuid"] == connection["uuid"]
