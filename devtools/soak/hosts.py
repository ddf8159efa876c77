"""The storage emulator of a soak, and two processes of the service on it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from devtools.azurite import Azurite
from devtools.bench.stack import Service, start
from devtools.ports import free_ports
from devtools.soak.counts import KILLED, STOPPED, Count
from devtools.soak.options import Options
from devtools.soak.storage import command
from tntcore.keys.custody import LocalMasterKeys


class Hosts:
    """Two processes of the service on one storage emulator, and the faults that are done to them.

    Args:
        folder: of the master keys.

    Attributes:
        ports: of the two processes. url: the service's public one.
        steady: the process that is not ended, except to change the account. other: None while it is started.
        at_processes, at_storage: held by those who end, freeze or change them.
    """

    def __init__(self, options: Options, count: Count, folder: Path, url: str = "") -> None:
        self._options = options
        self._count = count
        self._folder = folder
        self.ports = free_ports(2)
        self.url = url or f"http://127.0.0.1:{self.ports[0]}"
        self.at_processes = asyncio.Lock()
        self.at_storage = asyncio.Lock()
        self.azurite: Azurite
        self.steady: Service
        self.other: Service | None = None
        self._refused = self._lost = 0.0
        self._faults: dict[int, dict[str, int]] = {}

    @asynccontextmanager
    async def running(self, backup: Path | None = None) -> AsyncIterator[None]:
        """Starts everything, on an account with this backup or an empty one."""
        await self._open(backup)
        try:
            yield
        finally:
            await self._close()

    async def move(self, backup: Path) -> None:
        """Stops everything, and starts it again on an empty account, into which the backup is restored. The account
        that was is gone.
        """
        self._count.stopping.append(await self.steady.terminate())
        if self.other is not None:
            self._count.stopping.append(await self.other.terminate())
            self.other = None
        await asyncio.to_thread(self.azurite.stop)
        await self._open(backup)

    async def _open(self, backup: Path | None) -> None:
        self.azurite = self._storage()
        await asyncio.to_thread(self.azurite.start)
        try:
            if backup is not None:
                await command(self.azurite.connection_string, "restore", str(backup))
            self.steady = await self._start(self.ports[0], 0)
            self.other = await self._start(self.ports[1], 0)
        except BaseException:
            self.azurite.stop()
            raise

    async def _close(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.azurite.pid, signal.SIGCONT)
        await self.steady.stop()
        if self.other is not None:
            await self.other.kill()
        await asyncio.to_thread(self.azurite.stop)

    def _storage(self) -> Azurite:
        if not self._options.restart_after:
            return Azurite()
        blobs, queues, tables = free_ports(3)
        return Azurite(
            location=self._folder / f"storage-{tables}", blob_port=blobs, queue_port=queues, table_port=tables
        )

    async def _start(self, port: int, clock: int) -> Service:
        settings = {"BENCH_CLOCK": str(clock)}
        service = await start(self.azurite, self._folder, port, self.url, lease=self._options.lease, settings=settings)
        await self._set_storage(service)
        return service

    @property
    def _processes(self) -> list[Service]:
        return [self.steady, *([self.other] if self.other is not None else [])]

    async def end_the_other(self, *, asked: bool, clock: int) -> None:
        """Ends the process that is not steady, and starts it again.

        Args:
            asked: by SIGTERM. clock: milliseconds by which the new one's clock is ahead.
        """
        async with self.at_processes:
            other, self.other = self.other, None
            if other is None:
                return
            self._count.done[STOPPED if asked else KILLED] += 1
            if asked:
                self._count.stopping.append(await other.terminate())
            else:
                await other.kill()
            while self.other is None:
                await asyncio.sleep(1)
                # As a platform does: storage may not answer just now.
                with suppress(RuntimeError):
                    self.other = await self._start(self.ports[1], clock)

    async def set_clock(self, which: int, milliseconds: int) -> None:
        """Sets the clock of one process, 0 for the steady one, by so much ahead."""
        async with self.at_processes:
            processes = self._processes
            await _ask(processes[which % len(processes)], "clock", milliseconds=milliseconds)

    async def set_storage(self, refused: float) -> None:
        """Lets storage refuse this share of all calls from now on, and lose answers as the options say."""
        async with self.at_processes:
            self._refused, self._lost = refused, self._options.lost
            for service in self._processes:
                await self._set_storage(service)

    async def _set_storage(self, service: Service) -> None:
        await _ask(service, "storage", refused=float(self._refused), lost=float(self._lost))

    async def count_faults(self) -> None:
        """Writes down what befell the storage calls of both processes so far."""
        for service in self._processes:
            said = await _ask(service, "counts")
            if said is not None:
                self._faults[service.pid] = said["faults"]
        for name in {name for faults in self._faults.values() for name in faults}:
            self._count.done[name] = sum(faults[name] for faults in self._faults.values())

    async def rotate_master_key(self) -> None:
        """Adds a version of the master key. A process reads the file when it starts."""
        await asyncio.to_thread(lambda: LocalMasterKeys(self._folder / "master-keys.json").rotate())

    async def pause_storage(self, seconds: float) -> None:
        async with self.at_storage:
            os.kill(self.azurite.pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
            finally:
                os.kill(self.azurite.pid, signal.SIGCONT)

    async def restart_storage(self, seconds: float) -> None:
        """Ends storage, and starts it again after so long."""
        async with self.at_storage:
            await asyncio.to_thread(self.azurite.stop)
            await asyncio.sleep(seconds)
            await asyncio.to_thread(self.azurite.start)


async def _ask(service: Service, do: str, **arguments: Any) -> dict[str, Any] | None:
    """Gives a command to a process; None if it ends meanwhile."""
    try:
        return await service.ask(do, **arguments)
    except (RuntimeError, OSError):
        return None
