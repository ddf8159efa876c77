"""Storage emulator, functions host, two tenants and a webhook receiver, until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, cast
from unittest.mock import patch

import azure.functions as func
from aiohttp import ClientSession

from devtools.agent import BASIC_MESSAGE
from devtools.azurite import Azurite, AzuriteError
from devtools.connect import connect_tenants
from devtools.demo.receiver import Receiver, clock
from devtools.host.host import Host, print_now
from devtools.host.settings import read_json
from devtools.ports import PortTaken, free_ports, is_free
from tntcore.api.http import OPERATOR_HEADER, Access
from tntcore.dids.document import Version
from tntcore.storage.records import Identity
from tntcore.tenancy.tenants import Tenant

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 20.0  # seconds for the first message


class DemoError(RuntimeError):
    """The demo could not be shown. The message says where it stopped."""


@dataclass
class Party:
    """A demo tenant: its name, its uuid, its subscription key, and its identity's `uuid` and `did`."""

    name: str
    uuid: str
    key: str
    identity: dict[str, str]


class Ending:
    """What Ctrl-C, SIGTERM or a closed terminal does: the first ends things in order, the second at once.

    Before `gently` is set there is nothing to end in order, and the first raises KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.gently: Callable[[], object] | None = None
        self.storage: Azurite | None = None
        self._asked = False
        for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sign, self._signalled)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            if self.storage is not None:
                with suppress(AzuriteError, ProcessLookupError):
                    os.killpg(self.storage.pid, signal.SIGKILL)
            os._exit(130)
        self._asked = True
        if self.gently is None:
            raise KeyboardInterrupt
        self.gently()


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m devtools.demo", description=__doc__)
    parser.add_argument("--port", type=int, default=7071, help="of the service; 0 for a free one (%(default)s)")
    parser.add_argument("--hook-port", type=int, default=0, help="of the webhook receiver (a free one)")
    for service in ("blob", "queue", "table"):
        parser.add_argument(f"--{service}-port", type=int, default=0, help="of the storage emulator (a free one)")
    parser.add_argument("--data", type=Path, help="folder that keeps the stored data (default: in memory)")
    parser.add_argument("--wire", choices=("v1", "v2"), default="v1", help="DIDComm version of the connection (v1)")
    return parser.parse_args(arguments)


def settle_ports(chosen: argparse.Namespace) -> None:
    """Raises `PortTaken` before anything is started; puts a free port where 0 was asked for."""
    named = {
        "PORT": "The service",
        "HOOK_PORT": "The webhook receiver",
        "BLOB_PORT": "The storage emulator (blobs)",
        "QUEUE_PORT": "The storage emulator (queues)",
        "TABLE_PORT": "The storage emulator (tables)",
    }
    spare = iter(free_ports(len(named)))
    for name, what in named.items():
        port = getattr(chosen, name.lower())
        if port and not is_free(port):
            raise PortTaken(what, port, f"{name}=number")
        setattr(chosen, name.lower(), port or next(spare))


def configure(chosen: argparse.Namespace, storage: Azurite) -> None:
    """The service's settings for this machine; those that the environment has stay, but for the storage account."""
    os.environ.update(AzureWebJobsStorage=storage.connection_string)
    os.environ.setdefault("TNT_PUBLIC_URL", f"http://127.0.0.1:{chosen.port}")
    os.environ.setdefault("TNT_MASTER_KEY_FILE", str(ROOT / ".local" / "master-keys.json"))
    os.environ.setdefault("TNT_EGRESS_ALLOW", "127.0.0.0/8")
    os.environ.setdefault("TNT_ALLOW_HTTP", "true")


class Client:
    """Calls the service as its users do."""

    def __init__(self, session: ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self.operator_key = ""

    async def register(self, name: str) -> Party:
        made = await self.call("POST", "principal", {"displayName": name}, {OPERATOR_HEADER: self.operator_key})
        return Party(name, made["uuid"], made["headers"]["tnt-subscription-key"], made["identity"])

    async def as_party(self, party: Party, method: str, path: str, body: Any = None) -> Any:
        return await self.call(method, path, body, {"tnt-subscription-key": party.key})

    async def call(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Any:
        async with self._session.request(method, f"{self._url}/{path}", json=body, headers=headers) as response:
            if response.status >= 300:
                raise DemoError(f"{method} {path} was answered {response.status}: {(await response.text())[:500]}")
            return await response.json()


async def connect(one: Party, other: Party, version: Version) -> str:
    """Connects the two without a DID exchange; answers the uuid of the contact that `one` knows `other` by."""
    import function_app

    app = function_app.service.app()
    sides: list[tuple[Tenant, Identity]] = []
    for party in (one, other):
        tenant = await app.services.tenants.get(party.uuid)
        identity = await tenant.records.get(Identity, party.identity["uuid"]) if tenant else None
        if tenant is None or identity is None:
            raise DemoError(f"{party.name} was registered and cannot be read back")
        sides.append((tenant, identity))
    connection, _ = await connect_tenants(app.services, app.outbound, *sides, version=version)
    return connection.contact_uuid


def action(sender: Party, contact: str, text: str) -> dict[str, Any]:
    """The body of `POST /api/action`."""
    message = {"@type": BASIC_MESSAGE, "content": text}
    return {"type": "DIDCOMM", "from": sender.identity["uuid"], "to": contact, "data": {"message": message}}


def curl(url: str, party: Party, body: dict[str, Any] | None = None) -> str:
    """A call to paste into a shell. Nothing in it has an apostrophe."""
    lines = [f"curl -sS {url}", f"-H 'tnt-subscription-key: {party.key}'"]
    if body is not None:
        lines += ["-H 'content-type: application/json'", f"-d '{json.dumps(body)}'"]
    return " \\\n    ".join(lines)


def tapped(
    answer: Callable[[func.HttpRequest, str, Sequence[Access]], Awaitable[func.HttpResponse]],
) -> Callable[[func.HttpRequest, str, Sequence[Access]], Awaitable[func.HttpResponse]]:
    """`answer`, after printing how what arrives at the DIDComm endpoint begins: a message as it is on the wire."""

    async def printing(req: func.HttpRequest, path: str, access: Sequence[Access]) -> func.HttpResponse:
        if path == "didcomm":
            body = req.get_body()
            print_now(
                f"\n--- {clock()}  POST {path}, {req.headers.get('content-type')}, {len(body)} bytes\n"
                f"{body[:300].decode(errors='replace')} ..."
            )
        return await answer(req, path, access)

    return printing


async def first_operator() -> str:
    """A key that registers tenants. Kept data may have those of earlier runs, which nobody knows any more."""
    import function_app

    services = function_app.service.app().services
    key: str = (await services.operators.first("Demo", 0, services.uuid7(), anyway=True)).key.text
    return key


async def show(client: Client, host: Host, receiver: Receiver, version: Version, storage: str) -> None:
    """Registers and connects the tenants, sends the first message, and says how to send the next.

    Args:
        storage: the connection string of the storage account.
    """
    client.operator_key = await first_operator()
    acme, bolt = await client.register("Acme"), await client.register("Bolt")
    contact = await connect(acme, bolt, version)
    saved = await client.as_party(
        bolt, "POST", "settings/DIDCOMM_WEBHOOK", {"setting": [{"url": receiver.url, "match": ".*"}]}
    )
    [receiver.secret] = saved["secrets"].values()
    print_now(f"""
Service            {host.url}
Console            {host.url}/console   (sign in with a key below)
DIDComm endpoint   {host.url}/didcomm
Operator's key     {client.operator_key}   (header {OPERATOR_HEADER}, for {host.url}/principal)

Tenant A, Acme     tnt-subscription-key: {acme.key}
                   {acme.identity["did"]}
Tenant B, Bolt     tnt-subscription-key: {bolt.key}
                   {bolt.identity["did"]}
                   webhook {receiver.url}

Acme sends Bolt a message, as an action. The service packs it for Bolt (DIDComm {version}) and POSTs it to the DIDComm
endpoint; there it is unpacked with Bolt's key, and Bolt's webhook is called.""")
    began = time.monotonic()
    done = await client.as_party(acme, "POST", "action", action(acme, contact, "Hello Bolt, this is Acme."))
    try:
        await asyncio.wait_for(receiver.called.wait(), PATIENCE)
    except TimeoutError:
        deliveries = await client.as_party(acme, "GET", "delivery")
        raise DemoError(
            f"Bolt's webhook was not called within {PATIENCE:.0f} s. Acme's deliveries: {json.dumps(deliveries)}"
        ) from None
    took = (time.monotonic() - began) * 1000
    print_now(f"""
That took {took:.0f} ms from the action to the webhook. Now you, in another terminal:

{curl(f"{host.url}/action", acme, action(acme, contact, "Hello again."))}

What became of the first action, and what Bolt has stored:

{curl(f"{host.url}/action/{done['uuid']}", acme)}

{curl(f"{host.url}/message", bolt)}

The calls in docs/ use these variables:

export URL={host.url} OPERATOR={client.operator_key}
export ACME={acme.key} BOLT={bolt.key} CONTACT={contact}

The commands backup, restore and repair use the storage account itself:

export AzureWebJobsStorage='{storage}'

Ctrl-C ends everything.""")


async def run(chosen: argparse.Namespace, storage: Azurite, ending: Ending) -> None:
    """Runs until `ending` is asked for. Raises `PortTaken`, `DemoError`."""
    # Reads the settings, which are made by `configure`.
    import function_app

    # After that: the app keeps lines of a worker's handlers for its next call, and these are the local host's as well.
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    # A signal handler runs between two instructions of this thread: only this wakes the loop.
    ending.gently = lambda: loop.call_soon_threadsafe(ended.set)
    async with AsyncExitStack() as opened:
        receiver = Receiver("Bolt", chosen.hook_port)
        await receiver.start()
        opened.push_async_callback(receiver.stop)
        # A lease as short as development needs: with kept data, a killed run's messages come back after a minute.
        host = Host(
            function_app.app,
            read_json(ROOT / "host.json"),
            storage.connection_string,
            port=chosen.port,
            lease=60,
            grace=5,
        )
        opened.push_async_callback(function_app.service.close)
        # With kept data, the host may call the app as soon as it starts.
        function_app.service.on_put = host.wake
        await host.start()
        opened.push_async_callback(host.stop)
        opened.enter_context(patch.object(function_app, "answer", tapped(function_app.answer)))
        await function_app.service.app().services.storage.ensure()
        session = await opened.enter_async_context(ClientSession())
        client = Client(session, host.url)
        showing = asyncio.create_task(
            show(client, host, receiver, cast("Version", chosen.wire), storage.connection_string)
        )
        until = asyncio.create_task(ended.wait())
        await asyncio.wait((showing, until), return_when=asyncio.FIRST_COMPLETED)
        if showing.done():
            showing.result()
        await until
        showing.cancel()
        print_now("\nStopping ... (Ctrl-C again: at once)")


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 after Ctrl-C, 1 with one line on standard error when it cannot run, 130 when it is cut short."""
    chosen = parse(arguments)
    ending = Ending()
    try:
        settle_ports(chosen)
        storage = Azurite(
            location=chosen.data,
            blob_port=chosen.blob_port,
            queue_port=chosen.queue_port,
            table_port=chosen.table_port,
        )
        ending.storage = storage
        print_now("Starting the storage emulator and the service ...")
        with storage:
            configure(chosen, storage)
            asyncio.run(run(chosen, storage, ending))
    except (AzuriteError, DemoError, PortTaken) as problem:
        print(f"demo: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
