"""Packages from npm, as a folder's package.json and package-lock.json name them: the tools that are not Python."""

import contextlib
import fcntl
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

OLDEST_NODE = 20


class NpmError(RuntimeError):
    """A tool cannot be installed or run. The message says what to do about it."""


def find_node(tool: str) -> str:
    """Path of a Node.js of version 20 or later; raises `NpmError` when there is none."""
    node = shutil.which("node")
    if node is None:
        raise NpmError(f"{tool} needs Node.js {OLDEST_NODE} or later, and no `node` is on the PATH: install it")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    major = re.match(r"v(\d+)\.", version)
    if major is None or int(major[1]) < OLDEST_NODE:
        raise NpmError(f"{tool} needs Node.js {OLDEST_NODE} or later, and {node} is {version or 'broken'}")
    return node


def installed(folder: Path) -> bool:
    """Whether the versions that package.json pins are completely there."""
    modules = folder / "node_modules"
    # npm writes this file last: without it an installation was cut short.
    if not (modules / ".package-lock.json").exists():
        return False
    pinned = json.loads((folder / "package.json").read_text())["dependencies"]
    return all(_version(modules / name) == version for name, version in pinned.items())


def _version(package: Path) -> str | None:
    about = package / "package.json"
    return json.loads(about.read_text())["version"] if about.exists() else None


def install(folder: Path, tool: str) -> None:
    """Install with npm what the folder pins, its progress visible; does nothing when it is there already.

    Args:
        tool: what this is, in a few words, to be shown.

    Raises:
        NpmError
    """
    if installed(folder):
        return
    npm = shutil.which("npm")
    if npm is None:
        raise NpmError(f"{tool} is installed with npm, which is not on the PATH: install Node.js with npm")
    with _installing(folder):
        if installed(folder):
            return
        print(f"Installing {tool} with npm, once; this takes about half a minute ...", flush=True)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        if subprocess.run(command, cwd=folder, check=False).returncode != 0 or not installed(folder):
            raise NpmError(f"`npm ci` failed in {folder}: its own message is above")


@contextlib.contextmanager
def _installing(folder: Path) -> Iterator[None]:
    # `npm ci` begins by deleting node_modules: two at once would pull it from under each other.
    (folder / ".local").mkdir(exist_ok=True)
    with (folder / ".local" / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
