"""ACA-Py as a peer: a real agent's process, its admin API and its webhooks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
import uuid
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import unquote

import orjson
from aiohttp import ClientConnectionError, ClientSession

from devtools import peers
from devtools.ports import free_ports
from tests.stack import Hook, Receiver

AcapyVersion = Literal["1.7.0", "1.2.7"]
Record = dict[str, Any]

DIDEXCHANGE_1_0 = "https://didcomm.org/didexchange/1.0"
DIDEXCHANGE_1_1 = "https://didcomm.org/didexchange/1.1"
CONNECTIONS_1_0 = "https://didcomm.org/connections/1.0"


@dataclass(frozen=True)
class Protocol:
    """What the admin API has for a credential protocol: the paths and webhooks, and the name of an exchange's id."""

    path: str
    topic: str
    id_name: str


ISSUE_1_0 = Protocol("issue-credential", "issue_credential", "credential_exchange_id")
ISSUE_2_0 = Protocol("issue-credential-2.0", "issue_credential_v2_0", "cred_ex_id")
PROOF_1_0 = Protocol("present-proof", "present_proof", "presentation_exchange_id")
PROOF_2_0 = Protocol("present-proof-2.0", "present_proof_v2_0", "pres_ex_id")
_AUTOMATIC = (
    *("--auto-respond-credential-proposal", "--auto-respond-credential-offer", "--auto-respond-credential-request"),
    *("--auto-store-credential", "--auto-respond-presentation-proposal", "--auto-respond-presentation-request"),
    "--auto-verify-presentation",
)


class AcapyError(RuntimeError):
    """The agent does not start, or its admin API refuses a call. The message has its words."""


class Acapy:
    """An agent of its own: `async with Acapy("1.7.0", "alice", folder) as alice`. Its log is `folder/alice.log`.

    It accepts invitations and requests by itself unless told otherwise, here or in a single call. A `mediator` grants
    mediation to whoever asks. With `plugins`, a flag can name those in `tests/interop/plugins`. With `automatic` it
    takes every step of the credential protocols by itself.
    """

    def __init__(
        self,
        version: AcapyVersion,
        name: str,
        folder: Path,
        *,
        accept_invitations: bool = True,
        accept_requests: bool = True,
        mediator: bool = False,
        automatic: bool = False,
        flags: tuple[str, ...] = (),
        plugins: bool = False,
    ) -> None:
        self.version, self.name = version, name
        self.log = folder / f"{name}.log"
        self.started_in = 0.0
        self._home = folder / name
        self._flags = list(flags)
        self._plugins = plugins
        self._invitation_urls: dict[str, str] = {}
        if accept_invitations:
            self._flags.append("--auto-accept-invites")
        if accept_requests:
            self._flags.append("--auto-accept-requests")
        if mediator:
            self._flags += ["--open-mediation", "--monitor-forward"]
        if automatic:
            self._flags += _AUTOMATIC
        self._hooks = Receiver()
        self._process: Process | None = None

    async def __aenter__(self) -> Self:
        environment = await asyncio.to_thread(peers.install, f"acapy-{self.version}")
        port, admin_port = free_ports(2)
        self.endpoint, self._admin = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}"
        await self._hooks.start()
        self._session = ClientSession()
        command = [
            *(str(environment / "bin" / "aca-py"), "start", "--label", self.name, "--log-level", "info"),
            *("--inbound-transport", "http", "127.0.0.1", str(port)),
            *("--outbound-transport", "http", "--endpoint", self.endpoint),
            *("--admin", "127.0.0.1", str(admin_port), "--admin-insecure-mode", "--webhook-url", self._hooks.url),
            *("--no-ledger", "--auto-provision", "--wallet-type", "askar", "--wallet-name", self.name),
            *("--wallet-key", uuid.uuid4().hex, "--monitor-ping", *self._flags),
            # Else a credential exchange that is done is gone.
            "--preserve-exchange-records",
            # Without it a requester of the connections protocol never comes to an end.
            "--auto-ping-connection",
        ]
        self._home.mkdir(parents=True)
        # Its settings can be variables as well, and its wallets are in the home folder.
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("ACAPY_", "PYTHON"))}
        if self._plugins:
            variables["PYTHONPATH"] = str(Path(__file__).parent / "plugins")
        begun = time.monotonic()
        with self.log.open("wb") as log:
            # A session of its own: Ctrl-C reaches pytest alone, which then ends it in order.
            self._process = await asyncio.create_subprocess_exec(
                *command,
                env={**variables, "HOME": str(self._home), "PYTHONUNBUFFERED": "1"},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            await self._ready(60)
        except BaseException:
            await self.stop()
            raise
        self.started_in = time.monotonic() - begun
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _ready(self, seconds: float) -> None:
        assert self._process is not None
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(ClientConnectionError):
                async with self._session.get(f"{self._admin}/status/ready") as response:
                    if response.status == 200:
                        return
            if self._process.returncode is not None:
                raise AcapyError(f"{self.name} ended with exit code {self._process.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise AcapyError(f"{self.name} is not ready after {seconds:.0f} seconds:\n{self.tail()}")
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """End the process and all that it started."""
        process, self._process = self._process, None
        if process is not None:
            for sign in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, sign)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), 10)
                    break
        await self._session.close()
        await self._hooks.stop()

    def tail(self, since: int = 0, characters: int = 6000) -> str:
        """The end of its log, without colours, from byte `since` on."""
        with self.log.open("rb") as log:
            log.seek(since)
            return re.sub(r"\x1b\[[0-9;]*m", "", log.read().decode(errors="replace"))[-characters:]

    async def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """An admin API call; JSON out. Query parameters that are None are left out. Raises `AcapyError` from 400 on."""
        parameters = {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in query.items()
            if value is not None
        }
        given = {} if body is None and method == "POST" else body
        async with self._session.request(method, f"{self._admin}/{path}", json=given, params=parameters) as response:
            answer = await response.read()
            if response.status >= 400:
                raise AcapyError(f"{self.name}: {method} {path}: {response.status} {answer[:1000]!r}")
            return orjson.loads(answer)

    async def event(self, topic: str, wanted: Callable[[Record], bool], seconds: float = 20) -> Record:
        """The first webhook of a topic that is wanted, those that came before the call included."""

        def fits(hook: Hook) -> bool:
            return _topic(hook) == topic and wanted(hook.json())

        try:
            return dict((await self._hooks.until(fits, seconds)).json())
        except TimeoutError:
            known = ("state", "rfc23_state", "connection_id", "thread_id", "content", "error_msg")
            latest = [
                (_topic(hook), {name: value for name, value in hook.json().items() if name in known})
                for hook in self._hooks.got[-15:]
            ]
            raise AssertionError(f"{self.name} says nothing of the kind on {topic}; its latest: {latest}") from None

    # Invitations and connections. A connection goes by its connection_id.

    async def create_invitation(
        self,
        *protocols: str,
        multi_use: bool = False,
        auto_accept: bool | None = None,
        did_method: str | None = None,
        mediation: str | None = None,
        **more: Any,
    ) -> Record:
        """An out-of-band invitation (RFC 0434) with these handshake protocols; didexchange 1.0 if none is given.

        `did_method` (did:peer:2 or did:peer:4) makes a DID its service, which is an inline one otherwise.
        """
        body = {
            "handshake_protocols": list(protocols or (DIDEXCHANGE_1_0,)),
            "use_did_method": did_method,
            "mediation_id": mediation,
            **more,
        }
        made = await self.call(
            "POST",
            "out-of-band/create-invitation",
            {name: value for name, value in body.items() if value is not None},
            multi_use=multi_use,
            auto_accept=auto_accept,
        )
        self._invitation_urls[made["invitation"]["@id"]] = made["invitation_url"]
        return dict(made["invitation"])

    def url_of(self, invitation: Record) -> str:
        """The URL that an invitation made here goes by."""
        return self._invitation_urls[invitation["@id"]]

    async def create_legacy_invitation(self, *, auto_accept: bool | None = None) -> Record:
        """An invitation of the connections protocol (RFC 0160), which 1.7.0 has no longer."""
        made = await self.call("POST", "connections/create-invitation", auto_accept=auto_accept)
        self._invitation_urls[made["invitation"]["@id"]] = made["invitation_url"]
        return dict(made["invitation"])

    async def receive_invitation(
        self, invitation: Record, *, auto_accept: bool | None = None, mediation: str | None = None
    ) -> str:
        """Takes an invitation in either form; the new connection."""
        if "/connections/" in invitation["@type"]:
            made = await self.call(
                "POST", "connections/receive-invitation", invitation, auto_accept=auto_accept, mediation_id=mediation
            )
        else:
            made = await self.call(
                "POST",
                "out-of-band/receive-invitation",
                invitation,
                auto_accept=auto_accept,
                mediation_id=mediation,
                use_existing_connection=False,
            )
        return str(made["connection_id"])

    async def accept_invitation(self, connection: str, *, did_method: str | None = None) -> Record:
        """Sends the request of DID exchange, with a new DID of `did_method` or of the handshake's default."""
        path = f"didexchange/{connection}/accept-invitation"
        return dict(await self.call("POST", path, use_did_method=did_method))

    async def accept_request(self, connection: str) -> Record:
        """Sends the response."""
        protocol = "connections" if await self._is_legacy(connection) else "didexchange"
        return dict(await self.call("POST", f"{protocol}/{connection}/accept-request"))

    async def _is_legacy(self, connection: str) -> bool:
        return str((await self.connection(connection))["connection_protocol"]).startswith("connections/")

    async def reject(self, connection: str, reason: str) -> Record:
        """Abandons a DID exchange whose invitation or request waits; the other side is told nothing."""
        return dict(await self.call("POST", f"didexchange/{connection}/reject", {"reason": reason}))

    async def forget(self, connection: str) -> None:
        """Deletes the connection without a word, after which a response gets a problem report, if it has a document."""
        await self.call("DELETE", f"connections/{connection}")

    async def connections(self, **query: str) -> list[Record]:
        """Its connections, as an admin sees them; filters such as `invitation_msg_id`, `state`, `their_did`."""
        return list((await self.call("GET", "connections", **query))["results"])

    async def connection(self, connection: str) -> Record:
        return dict(await self.call("GET", f"connections/{connection}"))

    async def wait_state(self, connection: str, *states: str, seconds: float = 20) -> Record:
        """The connection's record as it was when it came to one of these states, in RFC 0023's words."""
        return await self.event(
            "connections",
            lambda record: record["connection_id"] == connection and record.get("rfc23_state") in states,
            seconds,
        )

    async def wait_gone(self, connection: str) -> None:
        """Until there is no such connection, which a hangup of the other side ends in."""

        async def gone() -> bool:
            return connection not in {record["connection_id"] for record in await self.connections()}

        await until(gone)

    async def wait_invited(self, invitation: Record, *states: str, seconds: float = 20) -> Record:
        """Likewise a connection that somebody made by accepting an invitation of ours."""

        def fits(record: Record) -> bool:
            # Of an invitation of the connections protocol it keeps the key alone.
            if "recipientKeys" in invitation:
                return record.get("invitation_key") in invitation["recipientKeys"]
            return bool(record.get("invitation_msg_id") == invitation["@id"])

        return await self.event(
            "connections", lambda record: fits(record) and record.get("rfc23_state") in states, seconds
        )

    # What goes over a connection.

    async def send_message(self, connection: str, text: str) -> None:
        """A basic message (RFC 0095)."""
        await self.call("POST", f"connections/{connection}/send-message", {"content": text})

    async def wait_message(self, connection: str, text: str, seconds: float = 20) -> Record:
        """The basic message with this text, once it is there."""
        return await self.event(
            "basicmessages",
            lambda message: message["connection_id"] == connection and message["content"] == text,
            seconds,
        )

    async def trust_ping(self, connection: str) -> str:
        """Pings, and waits for the answer (RFC 0048); the thread id."""
        thread = str((await self.call("POST", f"connections/{connection}/send-ping"))["thread_id"])
        await self.event("ping", lambda ping: ping["thread_id"] == thread and ping["state"] == "response_received")
        return thread

    async def discover(self, connection: str, query: str = "*") -> set[str]:
        """The protocols that the other side discloses by discover features 1.0 (RFC 0031)."""
        made = await self.call("GET", "discover-features/query", connection_id=connection, query=query)
        return {found["pid"] for found in made["disclose"]["protocols"]}

    async def discover_2(self, connection: str, query: str = "*") -> set[str]:
        """Likewise by discover features 2.0 (RFC 0557)."""
        made = await self.call("GET", "discover-features-2.0/queries", connection_id=connection, query_protocol=query)
        return {found["id"] for found in made["disclosures"]["disclosures"] if found["feature-type"] == "protocol"}

    async def rotate(self, connection: str, did_method: str = "did:peer:4") -> str:
        """Changes its DID on the connection (RFC 0794), waits for the ack, and answers the new DID."""
        made = await self.call("POST", "wallet/did/create", {"method": did_method, "options": {"key_type": "ed25519"}})
        did = str(made["result"]["did"])
        await self.call("POST", f"did-rotate/{connection}/rotate", {"to_did": did})

        async def acked() -> bool:
            return bool((await self.connection(connection))["my_did"] == did)

        await until(acked)
        return did

    async def hangup(self, connection: str) -> None:
        """Ends the connection, and tells the other side (RFC 0794)."""
        await self.call("POST", f"did-rotate/{connection}/hangup")

    # Credentials and proofs. An exchange goes by a record of it: what one of these answers, or a webhook's.

    async def did_key(self) -> str:
        """A new did:key, to issue with or to hold for."""
        made = await self.call("POST", "wallet/did/create", {"method": "key", "options": {"key_type": "ed25519"}})
        return str(made["result"]["did"])

    async def begin(self, protocol: Protocol, step: str, **body: Any) -> Record:
        """A new exchange, by one of the protocol's first steps: `send-offer`, `send-request`, `create-offer`, ..."""
        return dict(await self.call("POST", f"{protocol.path}/{step}", body))

    async def go_on(self, protocol: Protocol, record: Record, step: str, **body: Any) -> Record:
        """The next step of an exchange: `send-request`, `issue`, `store`, `problem-report`, ..."""
        path = f"{protocol.path}/records/{record[protocol.id_name]}/{step}"
        return dict(await self.call("POST", path, body))

    async def exchange(self, protocol: Protocol, record: Record) -> Record:
        """The whole of what it keeps of an exchange."""
        return dict(await self.call("GET", f"{protocol.path}/records/{record[protocol.id_name]}"))

    async def wait_exchange(self, protocol: Protocol, thread: str, state: str, seconds: float = 20) -> Record:
        """The exchange of a thread as it was when it came to a state, in the words of the agent."""
        return await self.event(
            protocol.topic, lambda record: record.get("thread_id") == thread and record["state"] == state, seconds
        )

    async def invite_to(self, protocol: Protocol, record: Record, *handshakes: str) -> Record:
        """An invitation with the first message of an exchange inside; without a handshake if none is given."""
        kind = "present-proof" if "proof" in protocol.path else "credential-offer"
        body: Record = {"attachments": [{"id": record[protocol.id_name], "type": kind}]}
        if handshakes:
            body["handshake_protocols"] = list(handshakes)
        made = await self.call("POST", "out-of-band/create-invitation", body, auto_accept=True)
        self._invitation_urls[made["invitation"]["@id"]] = made["invitation_url"]
        return dict(made["invitation"])

    async def answer_invitation(self, invitation: Record) -> Record:
        """Takes an out-of-band invitation for what is inside, with or without a handshake; the agent's record of it."""
        return dict(await self.call("POST", "out-of-band/receive-invitation", invitation, auto_accept=True))

    async def w3c_credentials(self) -> list[Record]:
        """The credentials with linked-data proofs that it has stored."""
        found = await self.call("POST", "credentials/w3c", {}, count=100)
        return [record["cred_value"] for record in found["results"]]

    # Mediation (RFC 0211).

    async def be_mediated_by(self, mediator: Acapy) -> str:
        """Connects to a mediator and asks it for mediation; the id that invitations take as `mediation`."""
        invitation = await mediator.create_invitation()
        connection = await self.receive_invitation(invitation)
        await self.wait_state(connection, "completed")
        await mediator.wait_invited(invitation, "completed")
        asked = await self.call("POST", f"mediation/request/{connection}")
        mediation = str(asked["mediation_id"])
        await self.event(
            "mediation", lambda record: record["mediation_id"] == mediation and record["state"] == "granted"
        )
        return mediation

    @property
    def forwarded(self) -> int:
        """How many messages it has forwarded, as a mediator."""
        return sum(_topic(hook) == "forward" for hook in self._hooks.got)

    async def wait_forwarded(self, number: int, seconds: float = 20) -> None:
        """Until it has forwarded that many."""
        await self.event("forward", lambda event: self.forwarded >= number, seconds)


async def until(check: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    """Until `check` answers true, of which nobody tells."""
    async with asyncio.timeout(seconds):
        while not await check():  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def _topic(hook: Hook) -> str:
    return unquote(hook.path).removeprefix("/topic/").strip("/")
