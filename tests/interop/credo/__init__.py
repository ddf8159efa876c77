"""Credo as a peer: a real agent's process, its API as it is in JavaScript, and its events."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from devtools import peers
from devtools.ports import free_ports
from tests.interop.acapy import CONNECTIONS_1_0, Record

DRIVER = Path(__file__).with_name("agent.mjs")
CONTEXTS = Path(__file__).parents[3] / "tntcore" / "credentials" / "contexts"
PATIENCE = 20.0  # seconds


class CredoError(RuntimeError):
    """The agent does not start, or refuses a call. The message has its words."""


class Credo:
    """An agent of its own: `async with Credo("alice", folder) as alice`. Its log is `folder/alice.log`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.ledger = folder / "ledger.json"  # as file_ledger.py has it
        self.since = 0  # what its log had when the test began
        self._process: Process | None = None
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._numbers = count(1)
        self._events: list[tuple[str, Record]] = []
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        folder = await asyncio.to_thread(peers.install, "credo")
        [port] = free_ports(1)
        self.endpoint = f"http://127.0.0.1:{port}"
        files = orjson.loads((CONTEXTS / "index.json").read_bytes())
        contexts = {name: orjson.loads((CONTEXTS / file).read_bytes()) for name, file in files.items()}
        options = {"label": self.name, "port": port, "contexts": contexts, "ledger": str(self.ledger)}
        libraries = {
            "LIB_ASKAR_PATH": str(folder / "lib" / "aries_askar"),
            "LIB_ANONCREDS_PATH": str(folder / "lib" / "anoncreds"),
        }
        with self.log.open("wb") as log:
            # A session of its own: Ctrl-C reaches pytest alone, which then ends it in order.
            self._process = await asyncio.create_subprocess_exec(
                *("node", str(DRIVER), str(folder), orjson.dumps(options).decode()),
                env={**os.environ, **libraries},
                stdin=PIPE,
                stdout=PIPE,
                stderr=log,
                limit=1 << 24,
                start_new_session=True,
            )
        self._reading = asyncio.create_task(self._read(self._process))
        try:
            await self.event("ready", lambda payload: True, 60)
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            await self._reading

    async def _read(self, process: Process) -> None:
        assert process.stdout
        async for line in process.stdout:
            said = orjson.loads(line)
            if "event" in said:
                async with self._changed:
                    self._events.append((said["event"], said["payload"]))
                    self._changed.notify_all()
                continue
            answer = self._answers.pop(said["id"])
            if answer.done():
                continue
            if "error" in said:
                answer.set_exception(CredoError(f"{self.name}: {said['error']}"))
            else:
                answer.set_result(said["result"])
        for answer in self._answers.values():
            answer.set_exception(CredoError(f"{self.name} ended:\n{self.tail()}"))

    def tail(self, characters: int = 6000) -> str:
        """The end of its log, from `since` on."""
        with self.log.open("rb") as log:
            log.seek(self.since)
            return log.read().decode(errors="replace")[-characters:]

    def sections(self) -> list[tuple[str, str]]:
        """What it logged during the test, for its report."""
        return [(f"end of {self.log}", self.tail())]

    async def ask(self, op: str, *arguments: Any) -> Any:
        """One of the driver's operations. Raises `CredoError`."""
        assert self._process
        assert self._process.stdin
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(orjson.dumps({"id": number, "op": op, "args": arguments}) + b"\n")
        async with asyncio.timeout(PATIENCE):
            return await answer

    async def call(self, method: str, *arguments: Any) -> Any:
        """A method of the agent's DIDComm API: `call("connections.sendPing", id)`. Raises `CredoError`."""
        return await self.ask("call", f"didcomm.{method}", *arguments)

    async def event(self, name: str, wanted: Callable[[Record], bool], seconds: float = PATIENCE) -> Record:
        """The payload of the first such event that is wanted, those that came before the call included."""
        deadline = time.monotonic() + seconds
        seen = 0
        async with self._changed:
            while True:
                for event, payload in self._events[seen:]:
                    if event == name and wanted(payload):
                        return payload
                seen = len(self._events)
                if self._reading.done():
                    raise CredoError(f"{self.name} ended:\n{self.tail()}")
                try:
                    async with asyncio.timeout(min(1.0, max(0.0, deadline - time.monotonic()))):
                        await self._changed.wait()
                except TimeoutError:
                    if time.monotonic() >= deadline:
                        latest = [(event, _brief(payload)) for event, payload in self._events[-15:]]
                        detail = f"{self.name} says nothing of the kind by {name}; its latest: {latest}"
                        raise AssertionError(detail) from None

    # Invitations and connections. A connection goes by its id.

    async def create_invitation(self, *protocols: str, **options: Any) -> Record:
        """An out-of-band invitation (RFC 0434), by default to DID exchange or connections; also its record's `id`."""
        if protocols:
            options["handshakeProtocols"] = [_family(protocol) for protocol in protocols]
        made = await self.ask("invite", options)
        return {"id": made["record"]["id"], **made}

    async def create_legacy_invitation(self) -> Record:
        """An invitation of the connections protocol (RFC 0160)."""
        made = await self.ask("inviteLegacy", {})
        return {"id": made["record"]["id"], **made}

    async def receive_invitation(self, url: str, **options: Any) -> str:
        """Takes an invitation of either form; the connection."""
        return str((await self.ask("receive", url, options))["connectionRecord"]["id"])

    async def wait_state(self, connection: str, state: str = "completed") -> Record:
        """The connection when it came to a state."""
        found = await self.event(
            "ConnectionStateChanged",
            lambda said: said["connectionRecord"]["id"] == connection and said["connectionRecord"]["state"] == state,
        )
        return dict(found["connectionRecord"])

    async def wait_invited(self, invitation: Record, state: str = "completed") -> Record:
        """Likewise a connection that somebody made by accepting an invitation of ours."""

        def fits(said: Record) -> bool:
            record = said["connectionRecord"]
            return bool(record.get("outOfBandId") == invitation["id"] and record["state"] == state)

        return dict((await self.event("ConnectionStateChanged", fits))["connectionRecord"])

    async def connection(self, connection: str) -> Record:
        return dict(await self.call("connections.getById", connection))

    # What goes over a connection.

    async def send_message(self, connection: str, text: str) -> None:
        """A basic message (RFC 0095)."""
        await self.call("basicMessages.sendMessage", connection, text)

    async def wait_message(self, connection: str, text: str) -> None:
        """Until it has received the basic message with this text."""

        def fits(said: Record) -> bool:
            record = said["basicMessageRecord"]
            return bool(
                record["connectionId"] == connection and record["content"] == text and record["role"] == "receiver"
            )

        await self.event("DidCommBasicMessageStateChanged", fits)

    async def trust_ping(self, connection: str) -> str:
        """Pings, and waits for the answer (RFC 0048); the thread id."""
        thread = str((await self.call("connections.sendPing", connection))["@id"])
        await self.event(
            "DidCommTrustPingResponseReceivedEvent", lambda said: said["message"]["~thread"]["thid"] == thread
        )
        return thread

    async def discover(self, connection: str, version: str, query: str = "*") -> set[str]:
        """The protocols that the other side discloses by discover features 1.0 or 2.0 (RFC 0031, RFC 0557)."""
        queries = [{"featureType": "protocol", "match": query}]
        options = {"connectionId": connection, "protocolVersion": version, "queries": queries}
        found = await self.call("discovery.queryFeatures", {**options, "awaitDisclosures": True})
        return {feature["id"] for feature in found["features"]}

    async def wait_rotated(self, connection: str, side: str) -> Record:
        """The latest change of a DID on a connection, `ourDid` or `theirDid`: {from, to}."""
        found = await self.event(
            "ConnectionDidRotated", lambda said: said["connectionRecord"]["id"] == connection and side in said
        )
        return dict(found[side])

    # Credentials and proofs, by versions "v1" and "v2" of their protocols.

    async def did_key(self) -> str:
        """A new did:key, to issue with or to hold for."""
        options = {"method": "key", "options": {"createKey": {"type": {"kty": "OKP", "crv": "Ed25519"}}}}
        return str((await self.ask("call", "dids.create", options))["didState"]["did"])

    async def wait_credential(self, thread: str, state: str) -> str:
        """Until the exchange of a thread is in a state, in the words of the agent; its id there."""
        found = await self.event(
            "DidCommCredentialStateChanged", lambda said: _came_to(said["credentialExchangeRecord"], thread, state)
        )
        return str(found["credentialExchangeRecord"]["id"])

    async def wait_proof(self, thread: str, state: str) -> Record:
        """Likewise a proof's; the agent's record of it, with `isVerified` where it is the verifier's."""
        found = await self.event("DidCommProofStateChanged", lambda said: _came_to(said["proofRecord"], thread, state))
        return dict(found["proofRecord"])


def _came_to(record: Record, thread: str, state: str) -> bool:
    return bool(record["threadId"] == thread and record["state"] == state)


def _family(protocol: str) -> str:
    """By which Credo knows the protocol, of which it has one version."""
    name = "connections" if protocol == CONNECTIONS_1_0 else "didexchange"
    return f"https://didcomm.org/{name}/1.x"


def _brief(payload: Record) -> Record:
    known = ("id", "state", "role", "threadId", "connectionId", "content", "errorMessage")
    found = [value for name, value in payload.items() if name.endswith("Record")] or [{}]
    return {name: value for name, value in found[0].items() if name in known}
