"""One local Functions host: the web server, the queue listeners and the timers of one `FunctionApp`."""

import asyncio
import logging
import os
import secrets
import sys
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import azure.functions as func
from aiohttp import web
from azure.functions.queue import QueueMessage
from azure.functions.timer import TimerRequest
from azure.storage.queue.aio import QueueServiceClient

from devtools.azurite import expand_connection_string
from devtools.host.functions import Invoke, Invoker, load
from devtools.host.http import HttpDoor, HttpFunction, Keys
from devtools.host.library import LibraryInvoker
from devtools.host.queues import QueueListener
from devtools.host.routing import Route, RouteTable, compile_route
from devtools.host.server import Server
from devtools.host.settings import SettingsError, parse_host_json, resolve
from devtools.host.timers import Schedule, Timer
from devtools.host.worker import WorkerLog, make_task
from devtools.ports import PortTaken, is_free
from tntcore.storage.clients import Queues

log = logging.getLogger("devtools.host")

STORAGE_SETTING = "AzureWebJobsStorage"

Hook = Callable[["Host"], Awaitable[None]]


class Host:
    """A stand-in for Azure Functions Core Tools, for development and tests only.

    `app` the decorated functions; `host_json` the content of host.json; `connection_string` the storage account of
    the queue triggers (their `connection` must be AzureWebJobsStorage). `port` 0 takes a free one. Keys that are not
    given are made up. `lease` in seconds is how long a killed host's messages stay invisible. `grace` in seconds is
    how long `stop` waits for running functions. `on_start` is awaited before anything is received, `on_stop` after the
    last function has ended. `environment` has the app settings: it resolves
    `%NAME%` in bindings, and bounds bodies (FUNCTIONS_REQUEST_BODY_SIZE_LIMIT). `log_of_worker` is a handler of the
    root logger, if the app's lines are to be treated as the real host does. `library` is the app's file, to be called
    through Microsoft's worker library (Python 3.13). `poll` is the seconds between polls, for an app that calls `wake`
    after each put.
    Raises `SettingsError` for an app this host cannot run.
    """

    def __init__(
        self,
        app: func.FunctionApp,
        host_json: Mapping[str, Any],
        connection_string: str,
        *,
        address: str = "127.0.0.1",
        port: int = 7071,
        function_key: str | None = None,
        master_key: str | None = None,
        check_keys: bool = True,
        lease: float = 600.0,
        grace: float = 10.0,
        on_start: Hook | None = None,
        on_stop: Hook | None = None,
        environment: Mapping[str, str] = os.environ,
        log_of_worker: WorkerLog | None = None,
        library: Path | None = None,
        poll: float | None = None,
    ) -> None:
        self.functions = load(app)
        self.options = parse_host_json(host_json, lease, environment=environment)
        self.keys = Keys(function_key or secrets.token_urlsafe(32), master_key or secrets.token_urlsafe(32), check_keys)
        self.operations: Counter[str] = Counter()
        self.port = port
        self._address = address
        self._connection_string = expand_connection_string(connection_string)
        self._grace = grace
        self._on_start = on_start
        self._on_stop = on_stop
        self._environment = environment
        self.routes = self._routes()
        self._schedules = {
            function.name: Schedule(resolve(function.trigger.schedule, environment))
            for function in self.functions
            if function.kind == "timerTrigger"
        }
        for function in self.functions:
            if function.kind == "queueTrigger" and function.trigger.connection != STORAGE_SETTING:
                raise SettingsError(f"function {function.name}: its connection must be {STORAGE_SETTING}")
        self._threads: ThreadPoolExecutor | None = None
        self._service: QueueServiceClient | None = None
        self._runner: web.ServerRunner | None = None
        self._listeners: list[QueueListener] = []
        self._timers: list[Timer] = []
        self._started = False
        self._library = library
        self._poll = poll
        self._invoke: Invoke | None = None
        # Of the worker and its app; the host's own lines are not in it.
        self.log = log_of_worker or WorkerLog()

    @property
    def url(self) -> str:
        """The base of every HTTP function, without a slash at the end; valid once started."""
        prefix = self.options.route_prefix
        return f"http://{self._address}:{self.port}" + (f"/{prefix}" if prefix else "")

    @property
    def invocations(self) -> Counter[str]:
        """How often each function was called, since the start."""
        return self._invoke.calls if self._invoke is not None else Counter()

    def _routes(self) -> list[Route[HttpFunction]]:
        routes = []
        for function in self.functions:
            if function.kind == "httpTrigger":
                trigger = function.trigger
                level = str(trigger.auth_level.value if trigger.auth_level else "function").lower()
                routes.append(
                    compile_route(
                        function.name,
                        f"{self.options.route_prefix}/{trigger.route}",
                        [str(getattr(method, "value", method)) for method in trigger.methods or ()],
                        HttpFunction(function, level),
                    )
                )
        return routes

    def wake(self, queue_name: str, delay: float = 0) -> None:
        """Have the listener of this queue look after `delay` seconds. Call it after a put; a queue without a listener
        is ignored.

        The real host does this for its own output bindings only. A message put by the SDK waits there for the next
        poll, at most maxPollingInterval.
        """
        for listener in self._listeners:
            if listener.queue_name == queue_name:
                listener.wake(delay)

    async def start(self) -> None:
        """Start everything. Raises `PortTaken`, or azure-core's errors when the storage cannot be reached."""
        if self.port and not is_free(self.port, self._address):
            raise PortTaken("The local Functions host", self.port, "--port")
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        asyncio.get_running_loop().set_task_factory(make_task)
        # Threads as the Python worker counts them.
        self._threads = ThreadPoolExecutor(min(32, (os.cpu_count() or 1) + 4), thread_name_prefix="function")
        invoke: Invoke
        if self._library is not None:
            invoke = await LibraryInvoker.start(self._library, self.log)
        else:
            invoke = Invoker(self._threads, self.log)
        self._invoke = invoke
        # The client's own retries add up to 40 s, which a shutdown would wait for; the listeners try again anyway.
        self._service = Queues.from_connection_string(
            self._connection_string,
            retry_total=1,
            initial_backoff=0,
            increment_base=0,
            random_jitter_range=0,
            use_env_settings=False,
        )
        queues = self.options.queues
        if self._poll is not None:
            queues = replace(queues, min_polling_interval=self._poll, max_polling_interval=self._poll, woken=True)
        for function in self.functions:
            if function.kind == "queueTrigger":
                name = resolve(function.trigger.queue_name, self._environment)
                self._listeners.append(
                    QueueListener(function, name, self._service, queues, invoke, self.operations, self.wake)
                )
            elif function.kind == "timerTrigger":
                self._timers.append(Timer(function, self._schedules[function.name], invoke))
        # Whether there is a storage account at all.
        await self._service.get_service_properties()
        self._started = True
        if self._on_start:
            await self._on_start(self)
        await self._listen(HttpDoor(RouteTable(self.routes), invoke, self.keys, self.options.http))
        for listener in self._listeners:
            listener.start()
        for timer in self._timers:
            timer.start()

    async def _listen(self, door: HttpDoor) -> None:
        self._runner = web.ServerRunner(Server(door.handle), shutdown_timeout=self._grace)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._address, self.port)
        try:
            await site.start()
        except OSError as problem:
            raise PortTaken("The local Functions host", self.port, "--port") from problem
        self.port = self._runner.addresses[0][1]

    async def run(self, name: str, text: str = "") -> None:
        """Runs a queue's function with this text, or a timer's; raises `KeyError` where there is none of this name."""
        function = next((one for one in self.functions if one.name == name and one.kind != "httpTrigger"), None)
        if function is None or self._invoke is None:
            raise KeyError(name)
        given: object = TimerRequest(past_due=False)
        if function.kind == "queueTrigger":
            given = QueueMessage(id=str(uuid.uuid4()), body=text, dequeue_count=1, pop_receipt="")  # type: ignore[no-untyped-call]
        await self._invoke(function, given)

    async def stop(self) -> None:
        """Accept and receive no more, let running functions finish within the grace, then close everything."""
        stops = [listener.stop(self._grace) for listener in self._listeners]
        stops += [timer.stop(self._grace) for timer in self._timers]
        if self._runner is not None:
            stops.append(self._runner.cleanup())
        self._listeners, self._timers, self._runner = [], [], None
        await asyncio.gather(*stops)
        if self._started and self._on_stop:
            await self._on_stop(self)
        self._started = False
        if self._service is not None:
            await self._service.close()
            self._service = None
        if isinstance(self._invoke, LibraryInvoker):
            self._invoke.stop()
        self._invoke = None
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    def describe(self) -> str:
        """The functions and how each is reached, as Core Tools prints them."""
        lines = ["", "Functions:", ""]
        for route in self.routes:
            methods = ",".join(sorted(route.methods)) or "ALL"
            address = f"http://{self._address}:{self.port}/{route.template}"
            lines.append(f"\t{route.target.function.name}: [{methods}] {address} ({route.target.level})")
        for function in self.functions:
            if function.kind == "queueTrigger":
                lines.append(
                    f"\t{function.name}: queueTrigger {resolve(function.trigger.queue_name, self._environment)}"
                )
            elif function.kind == "timerTrigger":
                lines.append(f"\t{function.name}: timerTrigger {function.trigger.schedule}")
        return "\n".join([*lines, ""])


def print_now(text: str) -> None:
    """Progress for a reader behind a pipe, too."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
