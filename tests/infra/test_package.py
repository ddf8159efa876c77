"""What is deployed: built twice it is the same, and it runs where nothing else is installed."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession

from devtools.host.functions import load
from devtools.package import PACKAGES, PYTHONS, build, install, pack
from devtools.ports import free_ports
from devtools.requirements import ROOT
from function_app import app as functions

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(scope="module")
def archive(folder_of_run: Path) -> Path:
    """Built once, by the first process of a run that needs it."""
    with open(folder_of_run / "package.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder_of_run / "package.zip").exists():
            build(ROOT, HERE, folder_of_run / "package")
            pack(folder_of_run / "package", folder_of_run / "packing.zip")
            (folder_of_run / "packing.zip").rename(folder_of_run / "package.zip")
    return folder_of_run / "package.zip"


@pytest.fixture(scope="module")
def unpacked(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wwwroot")
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment in which nothing is installed, not even pip."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, symlinks=True)
    return folder / "bin" / "python"


SETTINGS = ("AzureWebJobsStorage", "TNT_PUBLIC_URL", "TNT_MASTER_KEY_FILE")  # the function app reads them on import


def environment(unpacked: Path, *more: Path, **settings: str) -> dict[str, str]:
    """As the platform starts its worker: with the packages on the path, and nothing of this process's surroundings."""
    path = os.pathsep.join(str(folder) for folder in (unpacked / PACKAGES, *more))
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(unpacked),
        "PYTHONPATH": path,
        "PYTHONDONTWRITEBYTECODE": "1",
        **settings,
    }


def test_the_same_input_gives_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    build(ROOT, HERE, tmp_path / "package")
    os.utime(next((tmp_path / "package").rglob("*.py")), (1, 1))
    pack(tmp_path / "package", tmp_path / "package.zip")
    assert (tmp_path / "package.zip").read_bytes() == archive.read_bytes()


def test_it_has_what_runs_and_nothing_else(archive: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        names = [Path(name) for name in packed.namelist()]
    own = {str(name) for name in names if not name.is_relative_to(PACKAGES)}
    sources = {str(file.relative_to(ROOT)) for file in (ROOT / "tntcore").rglob("*") if file.is_file()}
    apart = {name for name in sources if name.startswith("tntcore/cli/")} | {"tntcore/__main__.py"}
    assert {name for name in sources if "__pycache__" not in name} - apart < own
    assert not own & apart, "the command line is not deployed"
    assert {name.partition("/")[0] for name in own} == {
        *(".funcignore", "__pycache__", "function_app.py", "host.json", "requirements.txt", "tntcore")
    }
    installed = {name.parts[3] for name in names if name.is_relative_to(PACKAGES)}
    assert {"azure", "aiohttp", "nacl", "didcomm", "anoncreds"} <= installed
    assert not installed & {"pytest", "_pytest", "mypy", "ruff", "hypothesis", "pycep", "peerdid", "uv", "bin"}
    assert not [name for name in names if "local.settings" in name.name]
    assert not [name for name in names if {"SelfTest", "isoschematron", "tests"} & set(name.parts)]
    # A package of 1 GB is the most that the platform takes; a large one makes every new instance slow.
    assert archive.stat().st_size < 50_000_000


def test_every_module_has_bytecode_that_is_not_checked_against_its_source(archive: Path) -> None:
    tag = sys.implementation.cache_tag
    with zipfile.ZipFile(archive) as packed:
        names = {Path(name) for name in packed.namelist()}
        missing = [
            name
            for name in names
            if name.suffix == ".py" and name.parent / "__pycache__" / f"{name.stem}.{tag}.pyc" not in names
        ]
        # PEP 552: bit 0 is set where a hash takes the place of the time, bit 1 where it is to be checked.
        flags = {packed.read(str(name))[4:8] for name in names if name.suffix == ".pyc"}
        ignored = packed.read(".funcignore").decode().splitlines()
    assert missing == []
    assert flags == {b"\x01\0\0\0"}
    # azd sends all that this file does not name, and no bytecode where there is no such file.
    assert [line for line in ignored if not line.startswith("#")] == []


@pytest.mark.parametrize("python", PYTHONS)
def test_every_package_is_there_for_every_python(python: str, tmp_path: Path) -> None:
    install(ROOT, python, tmp_path, "--dry-run")


def test_its_functions_are_found_in_an_empty_environment(unpacked: Path, empty: Path) -> None:
    code = "import function_app as f; print(*sorted(x.get_function_name() for x in f.app.get_functions()), f.__file__)"
    done = subprocess.run(
        [empty, "-c", code],
        cwd=unpacked,
        env=environment(unpacked, **{name: os.environ[name] for name in SETTINGS}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *names, file = done.stdout.split()
    assert names == sorted(function.name for function in load(functions))
    assert Path(file).parent == unpacked


EVERYTHING = """
import importlib, pkgutil, anoncreds, tntcore
from azure.monitor.opentelemetry import exporter
from opentelemetry.exporter.otlp.proto.http import trace_exporter
for module in pkgutil.walk_packages(tntcore.__path__, "tntcore."):
    importlib.import_module(module.name)
from pyld import jsonld
assert jsonld.normalize({"https://a.example/b": "c"}, {"format": "application/n-quads"})
from jsonschema import Draft7Validator
Draft7Validator({"type": "string"}).validate("text")
assert anoncreds.create_link_secret()
from tntcore.dids import peer
from tntcore.dids.build import didcomm_services
from tntcore.envelope import pack_v2, unpack
from tntcore.tenancy.recipients import KeyPairs
keys = KeyPairs.generate()
services = didcomm_services("https://a.example", "#key-2")
did = peer.resolve(peer.create_2([("E", keys.x25519.public), ("V", keys.ed25519.public)], services))
message = {"id": "1", "type": "https://a.example/b/1.0/c", "body": {}, "to": [did.id], "from": did.id}
packed = pack_v2(message, to=did, from_=(did, keys.by_kid(did)))
assert b"a.example/b/1.0/c" in unpack(packed, keys.by_kid(did), {did.id: did}).plaintext
"""


def test_what_is_left_out_is_missed_by_nothing(unpacked: Path, empty: Path) -> None:
    done = subprocess.run(
        [empty, "-c", EVERYTHING],
        cwd=unpacked,
        env=environment(unpacked),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def process(command: list[str | Path], cwd: Path, env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output, subprocess.Popen(command, cwd=cwd, env=env, stdout=output, stderr=output) as running:
        try:
            yield running
        finally:
            running.terminate()
            running.wait(20)


async def test_it_serves_from_an_empty_environment(
    unpacked: Path, empty: Path, accounts: Iterator[str], tmp_path: Path
) -> None:
    # The local host is no part of the package, so it comes beside it, and without the project's own modules.
    shutil.copytree(
        ROOT / "devtools", tmp_path / "devtools", ignore=shutil.ignore_patterns("node_modules", "__pycache__")
    )
    port = free_ports(1)[0]
    settings = {
        "AzureWebJobsStorage": next(accounts),
        "TNT_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "TNT_MASTER_KEY_FILE": str(tmp_path / "keys.json"),
        "DEV_MASTER_KEY": "operator",
    }
    env = environment(unpacked, tmp_path, **settings)
    log = tmp_path / "log"
    with process([empty, "-m", "devtools.host", "--port", str(port)], unpacked, env, log) as running:
        async with ClientSession(f"http://127.0.0.1:{port}/api/") as session:
            async with asyncio.timeout(60):
                while True:
                    assert running.poll() is None, log.read_text()
                    try:
                        async with session.get("health") as answer:
                            assert (answer.status, (await answer.json())["status"]) == (200, "ok"), log.read_text()
                            break
                    except ClientError:
                        await asyncio.sleep(0.2)
            # Keys are made, sealed and stored: what is compiled for the platform runs.
            name, host = {"name": "Ada"}, {"x-functions-key": "operator"}
            async with session.post("operator/first", json=name, headers=host) as answer:
                assert answer.status == 201, await answer.text()
                headers = (await answer.json())["headers"]
            body = {"displayName": "Packed"}
            async with session.post("principal", json=body, headers=headers) as answer:
                assert answer.status == 201, await answer.text()
