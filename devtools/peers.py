"""Install the programs that interop tests talk to: `python -m devtools.peers [NAME ...]`, without a name all of them.

They are other people's agents and libraries, whose dependencies do not go with ours, so each has an environment of its
own under `PEERS_HOME` (default `~/.cache/didcomm-peers`), which several checkouts may share. What is there already is
left alone. `PYTHON312` and `PYTHON313` name interpreters that `devtools/find-python` does not find.
"""

import argparse
import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DONE = ".installed"
LOCK = "package-lock.json"


class PeerError(RuntimeError):
    """A peer cannot be installed. The message says what to do about it."""


@dataclass(frozen=True)
class Peer:
    """`folder` is its environment's name; `requirements` are pip's, or npm's where `pythons` is empty.

    With `lock`, a folder of this project, npm installs what is locked there, `compiled` are those of it that have to be
    compiled here, and `requirements` are Python packages, for the sake of the shared libraries that are in them.
    """

    folder: str
    requirements: tuple[str, ...]
    pythons: tuple[str, ...] = ()
    lock: str = ""
    compiled: tuple[str, ...] = ()


PEERS: Mapping[str, Peer] = {
    "acapy-1.7.0": Peer("venv-acapy", ("acapy-agent==1.7.0",), ("3.13",)),
    "acapy-1.2.7": Peer("venv-acapy127", ("acapy-agent==1.2.7",), ("3.12",)),
    # With its own pins of 2022, other than in this project.
    "didcomm": Peer("venv-didcomm", ("didcomm==0.3.2", "authlib<2"), ("3.12", "3.11")),
    "didcomm-node": Peer("didcomm-node", ("didcomm-node@0.4.1",)),
    # Its packages would fetch the two libraries when they are installed, from where few networks let them. These are
    # the releases that they name.
    "credo": Peer(
        "credo",
        ("aries-askar==0.4.6", "anoncreds==0.2.3"),
        lock="tests/interop/credo",
        compiled=("@2060.io/ffi-napi", "@2060.io/ref-napi"),
    ),
}


def home() -> Path:
    """Where the peers' environments are."""
    return Path(os.environ.get("PEERS_HOME") or "~/.cache/didcomm-peers").expanduser().resolve()


def installed(name: str) -> bool:
    """Whether exactly what `PEERS` asks for is completely there."""
    peer, folder = PEERS[name], home() / PEERS[name].folder
    # The interpreter is a link: it may have gone since.
    if peer.pythons and not (folder / "bin" / "python").exists():
        return False
    done = folder / DONE
    return done.exists() and done.read_text() == _wanted(peer)


def install(name: str) -> Path:
    """The folder of the peer's environment, which is made if necessary, its progress visible.

    Raises `PeerError` if it cannot be made, and `KeyError` for a name that is not in `PEERS`.
    """
    peer, folder = PEERS[name], home() / PEERS[name].folder
    if installed(name):
        return folder
    with _alone():
        if not installed(name):
            print(f"Installing {name} ({' '.join(peer.requirements)}) into {folder}, once ...", flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            (_install_locked if peer.lock else _install_with_python if peer.pythons else _install_with_npm)(
                name, peer, folder
            )
            # Written last: without it an installation was cut short.
            (folder / DONE).write_text(_wanted(peer))
    return folder


def _wanted(peer: Peer) -> str:
    locked = (ROOT / peer.lock / LOCK).read_text() if peer.lock else ""
    return "\n".join(peer.requirements) + "\n" + locked


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    home().mkdir(parents=True, exist_ok=True)
    with (home() / "install.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Waiting for another installation in {home()} ...", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install_with_python(name: str, peer: Peer, folder: Path) -> None:
    python, inside, uv = _find_python(name, peer.pythons), str(folder / "bin" / "python"), _find_uv()
    if uv is not None:
        _run(name, [uv, "venv", "--quiet", "--python", python, str(folder)])
        _run(name, [uv, "pip", "install", "--python", inside, *peer.requirements])
    else:
        _run(name, [python, "-m", "venv", str(folder)])
        _run(name, [inside, "-m", "pip", "install", "--disable-pip-version-check", *peer.requirements])


def _find_uv() -> str | None:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv")


def _find_python(name: str, versions: tuple[str, ...]) -> str:
    for version in versions:
        if given := os.environ.get("PYTHON" + version.replace(".", "")):
            return given
    command = [str(ROOT / "devtools" / "find-python"), *versions]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.strip()
    if not found:
        variable = "PYTHON" + versions[0].replace(".", "")
        raise PeerError(
            f"{name} needs Python {' or '.join(versions)}, which was not found: install one, or name it with "
            f"{variable}=path"
        )
    return found


def _install_with_npm(name: str, peer: Peer, folder: Path) -> None:
    folder.mkdir()
    _npm(name, folder, "install", "--ignore-scripts", *peer.requirements)


def _install_locked(name: str, peer: Peer, folder: Path) -> None:
    folder.mkdir()
    for file in ("package.json", LOCK):
        shutil.copy(ROOT / peer.lock / file, folder)
    _npm(name, folder, "ci", "--ignore-scripts")
    _npm(name, folder, "rebuild", *peer.compiled, env=_headers())
    uv = _find_uv()
    pip = [uv, "pip", "install"] if uv else [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    _run(name, [*pip, "--no-deps", "--target", str(folder / "lib"), *peer.requirements])


def _headers() -> Mapping[str, str]:
    """Node's own headers, where it came with them: others are fetched, from where few networks let them."""
    node = shutil.which("node")
    prefix = Path(node).resolve().parents[1] if node else Path()
    return {"npm_config_nodedir": str(prefix)} if (prefix / "include" / "node" / "node.h").exists() else {}


def _npm(name: str, folder: Path, command: str, *arguments: str, env: Mapping[str, str] | None = None) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise PeerError(f"{name} is installed with npm, which is not on the PATH: install Node.js with npm")
    options = ["--prefix", str(folder), "--no-audit", "--no-fund", "--loglevel=error"]
    _run(name, [npm, command, *options, *arguments], env)


def _run(name: str, command: list[str], env: Mapping[str, str] | None = None) -> None:
    # Not in this project's folder, whose pyproject.toml uv would read: the peers' dependencies are not ours.
    if subprocess.run(command, cwd=home(), env={**os.environ, **(env or {})}, check=False).returncode != 0:
        raise PeerError(f"{name} cannot be installed: `{' '.join(command)}` failed, its own message is above")


def main(arguments: list[str] | None = None) -> int:
    """The command line. Exit code 1 when a peer cannot be installed."""
    parser = argparse.ArgumentParser(prog="python -m devtools.peers", description="Install what interop tests talk to.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PEERS)} (default: all)")
    names = parser.parse_args(arguments).names or list(PEERS)
    if unknown := [name for name in names if name not in PEERS]:
        parser.error(f"no peer {', '.join(unknown)}; there are {', '.join(PEERS)}")
    try:
        for name in names:
            install(name)
    except PeerError as problem:
        print(f"peers: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
