"""Azurite, Microsoft's storage emulator: install it, start it, wait until it answers, stop it.

As a library `with Azurite() as storage: storage.connection_string`; as a command `python -m devtools.azurite`.
"""

import argparse
import contextlib
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from devtools import npm
from devtools.ports import PortTaken, free_ports, is_free

HERE = Path(__file__).resolve().parent
SCRIPT = HERE / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
WITHOUT_TELEMETRY = HERE / "no_telemetry.cjs"
ACCOUNT = "devstoreaccount1"
# The emulator's well-known account key: public, the same in every installation, of no use anywhere else.
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
DEFAULT_PORTS = (10000, 10001, 10002)
SERVICES = ("blob", "queue", "table")


class AzuriteError(RuntimeError):
    """Azurite cannot be installed or started. The message says what to do about it."""


def connection_string(
    blob_port: int, queue_port: int, table_port: int, host: str = "127.0.0.1", account: str = ACCOUNT
) -> str:
    """The connection string of an emulator on these ports, as `AzureWebJobsStorage` takes it."""
    endpoints = "".join(
        f"{service.capitalize()}Endpoint=http://{host}:{port}/{account};"
        for service, port in zip(SERVICES, (blob_port, queue_port, table_port), strict=True)
    )
    return f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={ACCOUNT_KEY};{endpoints}"


def expand_connection_string(value: str) -> str:
    """`value`, or what the shorthand `UseDevelopmentStorage=true` stands for, which the Python SDKs do not know."""
    if value.strip().rstrip(";").lower() == "usedevelopmentstorage=true":
        return connection_string(*DEFAULT_PORTS)
    return value


def install() -> None:
    """Install the pinned Azurite with npm; does nothing when it is there already. Raises `AzuriteError`."""
    try:
        npm.install(HERE, "Azurite (the storage emulator)")
    except npm.NpmError as error:
        raise AzuriteError(str(error)) from None


def find_node() -> str:
    """Path of the Node.js that it runs on. Raises `AzuriteError`."""
    try:
        return npm.find_node("Azurite")
    except npm.NpmError as error:
        raise AzuriteError(str(error)) from None


class Azurite:
    """One emulator process of its own.

    `location` is a folder that keeps the data; None keeps it in memory. A port of 0 takes a free one. With
    `certificate`, PEM files of a certificate and its key, it speaks https and takes the tokens of an identity, whose
    claims it checks but not whose signature. `accounts` are names of accounts beside the well-known one, with its key.
    """

    def __init__(
        self,
        *,
        location: Path | None = None,
        blob_port: int = 0,
        queue_port: int = 0,
        table_port: int = 0,
        certificate: tuple[Path, Path] | None = None,
        accounts: Sequence[str] = (),
    ) -> None:
        self._accounts = (ACCOUNT, *accounts)
        self._location = location
        self._certificate = certificate
        self._asked = (blob_port, queue_port, table_port)
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        self.ports: tuple[int, int, int] = self._asked

    @property
    def connection_string(self) -> str:
        """For `AzureWebJobsStorage` and the SDK clients; valid once started."""
        return self.connection_string_of(ACCOUNT)

    def connection_string_of(self, account: str) -> str:
        """The same for another of its accounts."""
        return connection_string(*self.ports, account=account)

    @property
    def pid(self) -> int:
        """The emulator's process, whose CPU time a benchmark reads."""
        if self._process is None:
            raise AzuriteError("Azurite is not running")
        return self._process.pid

    def start(self, timeout: float = 120.0) -> Self:
        """Install if necessary, start, and return when all three services answer.

        Raises `PortTaken`, or `AzuriteError` when it does not answer within `timeout` seconds.
        """
        node = find_node()
        install()
        for service, port in zip(SERVICES, self._asked, strict=True):
            if port and not is_free(port):
                raise PortTaken(f"Azurite's {service} service", port, f"--{service}-port")
        spare = iter(free_ports(3))
        blob, queue, table = (port or next(spare) for port in self._asked)
        self.ports = (blob, queue, table)
        command = [
            node,
            "--require",
            str(WITHOUT_TELEMETRY),
            str(SCRIPT),
            "--silent",
            "--skipApiVersionCheck",
            "--disableTelemetry",
        ]
        if self._location is None:
            command.append("--inMemoryPersistence")
        else:
            self._location.mkdir(parents=True, exist_ok=True)
            command += ["--location", str(self._location)]
        if self._certificate is not None:
            certificate, key = self._certificate
            command += ["--oauth", "basic", "--cert", str(certificate), "--key", str(key)]
        for service, port in zip(SERVICES, self.ports, strict=True):
            command += [f"--{service}Host", "127.0.0.1", f"--{service}Port", str(port)]
        # A file, since nobody empties a pipe while the emulator runs.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  (closed in stop)
        # A session of its own: Ctrl-C reaches the caller alone, which can then stop things in order.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "AZURITE_ACCOUNTS": ";".join(f"{name}:{ACCOUNT_KEY}" for name in self._accounts)},
        )
        try:
            self._wait(time.monotonic() + timeout)
        except BaseException:
            self.stop()
            raise
        return self

    def _wait(self, deadline: float) -> None:
        assert self._process is not None
        assert self._output is not None
        for port in self.ports:
            while not _answers(port, "https" if self._certificate else "http"):
                if self._process.poll() is not None:
                    self._output.seek(0)
                    said = self._output.read().decode(errors="replace").strip()
                    raise AzuriteError(f"Azurite ended with exit code {self._process.returncode}: {said[-2000:]}")
                if time.monotonic() > deadline:
                    raise AzuriteError(f"Azurite does not answer on port {port}")
                time.sleep(0.05)

    def stop(self) -> None:
        """End the process and what it started; does nothing when it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
                break
        if self._output is not None:
            self._output.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _answers(port: int, scheme: str) -> bool:
    # A default context would read all certificates of the system first.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Only whether anybody is there.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        urllib.request.urlopen(f"{scheme}://127.0.0.1:{port}/", timeout=2, context=context).close()
    except urllib.error.HTTPError as refusal:
        # Any HTTP answer will do: an unsigned request is refused, by a service that is up.
        refusal.close()
    except OSError:
        return False
    return True


def main(arguments: list[str] | None = None) -> int:
    """The command line: runs until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m devtools.azurite", description="Run the storage emulator.")
    for service, port in zip(SERVICES, DEFAULT_PORTS, strict=True):
        parser.add_argument(f"--{service}-port", type=int, default=port, help="0 for a free one (default: %(default)s)")
    parser.add_argument("--location", type=Path, help="folder that keeps the data (default: in memory)")
    parser.add_argument("--install-only", action="store_true", help="install and end")
    chosen = parser.parse_args(arguments)
    azurite = Azurite(
        location=chosen.location,
        blob_port=chosen.blob_port,
        queue_port=chosen.queue_port,
        table_port=chosen.table_port,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if chosen.install_only:
            find_node()
            install()
            return 0
        with azurite:
            print(f"AzureWebJobsStorage={azurite.connection_string}", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        return 0
    except (AzuriteError, PortTaken) as problem:
        print(f"azurite: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
