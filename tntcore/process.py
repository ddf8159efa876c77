"""The service in a process of the Functions host: start, invocations and end.

The process belongs to the worker, which has set up logging and signals. It imports `function_app`, within its event
loop, and calls functions.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tntcore.api.http import Access, Request, Response, problem
from tntcore.app import App
from tntcore.cloud import Cloud
from tntcore.config import Config, ConfigError
from tntcore.credentials.contexts_given import read_folder
from tntcore.errors import Problem
from tntcore.keys.custody import CustodyError, LocalMasterKeys
from tntcore.plugins import find_factory
from tntcore.sigterm import OnSigterm
from tntcore.storage import layout
from tntcore.storage.layout import UnusableStorageError
from tntcore.storage.queues import OnPut
from tntcore.storage.storage import Storage
from tntcore.telemetry import Meter, logs
from tntcore.telemetry.invocation import invocation, keep_late_lines

log = logging.getLogger(__name__)

END_SECONDS: Final = 4.5  # from SIGTERM to the end of the process in any case
_FINISH_SECONDS: Final = 2.0  # of them, for invocations that run
_CLOSE_SECONDS: Final = 2.0  # of them, for telemetry and all else
_OPEN_AFTER: Final = 0.1  # seconds from the import to the opening of the app, if nothing is called before
_CHECK_SECONDS: Final = 3.0  # for the storage account to answer at the start
_LOAD_AFTER: Final = 2.0  # seconds from the opening of the app, when the first messages are through
_GC_THRESHOLDS: Final = (5_000, 20, 50)
_LOADED_LATER: Final = ("tntcore.envelope.jose", "tntcore.credentials.catalogue", "tntcore.storage.blob_service")
"""Modules that are slow to load and that messages may need: loaded by a thread, so that no message waits for them. The
first v2 envelope, credential or large message before that loads its own.
"""


class Stopping(Exception):
    """The process is stopping and accepts no work. The host delivers a queue message again after
    `visibilityTimeout`.
    """


class Service:
    """The app of this process, opened by the first invocation, in the worker's event loop.

    Attributes:
        on_put: called after each put with the name of the queue and the seconds until the message can be seen. A host
            in the same process may poll it then. If it is None, the service handles some messages at once, which
            the host would find only at its next poll (`storage.at_once`).
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.on_put: OnPut | None = None
        self._opened: tuple[asyncio.AbstractEventLoop, App] | None = None
        self._making: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._stopping = False
        self._running = 0
        self._idle = asyncio.Event()

    @staticmethod
    def start() -> Service:
        """Sets up a process that imports the app. Raises `ConfigError`."""
        logs.set_levels(os.environ)
        config = _read_settings(os.environ)
        if config.telemetry.json_logs:
            logs.install()
        keep_late_lines()
        service = Service(config)
        OnSigterm(service._begin_end, END_SECONDS).install()
        # Without a loop, a tool is only listing the functions. With one, the worker answers the host first.
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return service
        _check_storage(config)
        loop.call_later(_OPEN_AFTER, service.app)
        return service

    def app(self) -> App:
        """Opens the app on the first call, and starts to create missing storage in the background."""
        loop = asyncio.get_running_loop()
        if self._opened is None or self._opened[0] is not loop:
            app = App.open(self.config, self._tell, at_once=self.on_put is None)
            self._opened = loop, app
            self._making = loop.create_task(app.services.storage.ensure_in_time())
            loop.call_later(_LOAD_AFTER, loop.run_in_executor, None, _load)
        return self._opened[1]

    def _tell(self, queue: str, delay: int) -> None:
        if self.on_put is not None:
            self.on_put(queue, delay)

    @contextmanager
    def invocation(self) -> Iterator[App]:
        """Encloses one invocation. Raises `Stopping`."""
        with invocation():
            if self._stopping:
                raise Stopping("this process is ending")
            self._running += 1
            self._idle.clear()
            try:
                yield self.app()
            finally:
                self._running -= 1
                if not self._running:
                    self._idle.set()

    async def http(self, request: Request, access: Sequence[Access]) -> Response:
        """Answers a request, which is one invocation."""
        try:
            with self.invocation() as app:
                return await app.http(request, access)
        except Stopping:
            busy = Problem(503, "busy", "This instance is shutting down. Retry the request.", retry_after=1)
            return problem(busy, str(uuid.uuid4()))

    def _begin_end(self, done: Callable[[], None]) -> None:
        if self._opened is None or self._opened[0].is_closed():
            done()
            return
        self._stopping = True
        loop = self._opened[0]

        def end() -> None:
            self._ending = loop.create_task(self.end())
            self._ending.add_done_callback(lambda _: done())

        loop.call_soon_threadsafe(end)

    async def end(self) -> None:
        """Accepts no more work, waits a short while for running invocations, and closes the app. Another process
        repeats what is cut off.
        """
        self._stopping = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FINISH_SECONDS):
                if self._opened is not None:
                    self._opened[1].stop()
                    await self._opened[1].settle()
                if self._running:
                    await self._idle.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.close(), _CLOSE_SECONDS)

    async def close(self) -> None:
        finished = not self._running
        if self._opened is not None:
            (_, app), self._opened = self._opened, None
            if self._making is not None:
                self._making.cancel()
                await asyncio.gather(self._making, return_exceptions=True)
            await app.close(finished=finished)


def _check_storage(config: Config) -> None:
    """Raises `ConfigError` if the storage account must not be used: before the worker knows of any function, so that
    queue messages wait. If storage does not answer, the service starts: its calls will find out."""

    async def check() -> None:
        cloud = Cloud(config.identity)
        storage = Storage(config.storage, Meter(0), lambda queue, delay: None, cloud)
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                await layout.check(storage)
        finally:
            await storage.close()
            await cloud.close()

    with ThreadPoolExecutor(1) as thread:
        try:
            thread.submit(asyncio.run, check()).result()
        except UnusableStorageError as error:
            raise ConfigError(str(error)) from None
        except Exception as error:  # noqa: BLE001 - of whatever kind, storage is what it is about
            log.warning("the storage account's layout could not be read: %s", type(error).__name__)


def _load() -> None:
    """Loads the rest of the code, and freezes the objects that then exist: the garbage collector need not scan them,
    and runs less often.
    """
    for name in _LOADED_LATER:
        importlib.import_module(name)
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def _read_settings(environment: Mapping[str, str]) -> Config:
    """Returns the configuration, after checking the files and modules that it names. Raises `ConfigError`."""
    config = Config.read(environment)
    problems: list[str] = []
    if isinstance(config.master_keys, Path):
        try:
            LocalMasterKeys.check(config.master_keys)
        except CustodyError as error:
            problems.append(f"TNT_MASTER_KEY_FILE: {error.detail}")
    try:
        read_folder(config.contexts)
    except ConfigError as error:
        problems += error.problems
    plugins = {"TNT_ANONCREDS_REGISTRIES": config.anoncreds_registries, "TNT_DID_METHODS": config.did_methods}
    for setting, name in ((setting, name) for setting, names in plugins.items() for name in names):
        try:
            find_factory(name)
        except Exception as error:
            log.debug("an extension cannot be loaded", exc_info=error)
            problems.append(f"{setting}: {name} cannot be loaded: {type(error).__name__}: {error}")
    if problems:
        raise ConfigError(*problems)
    return config
