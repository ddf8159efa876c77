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


class PeerError(RuntimeError):
    """A peer cannot be installed. The message says what to do about it."""


@dataclass(frozen=True)
class Peer:
    """`folder` is its environment's name; `requirements` are pip's, or npm's where `pythons` is empty."""

    folder: str
    requirements: tuple[str, ...]
    pythons: tuple[str, ...] = ()


PEERS: Mapping[str, Peer] = {
    "acapy-1.7.0": Peer("venv-acapy", ("acapy-agent==1.7.0",), ("3.13",)),
    "acapy-1.2.7": Peer("venv-acapy127", ("acapy-agent==1.2.7",), ("3.12",)),
    # With its own pins of 2022, other than in this project.
    "didcomm": Peer("venv-didcomm", ("didcomm==0.3.2", "authlib<2"), ("3.12", "3.11")),
    "didcomm-node": Peer("didcomm-node", ("didcomm-node@0.4.1",)),
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
            print(f"Installing {' '.join(peer.requirements)} into {folder}, once ...", flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            (_install_with_python if peer.pythons else _install_with_npm)(name, peer, folder)
            # Written last: without it an installation was cut short.
            (folder / DONE).write_text(_wanted(peer))
    return folder


def _wanted(peer: Peer) -> str:
    return "\n".join(peer.requirements) + "\n"


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
    python, inside = _find_python(name, peer.pythons), str(folder / "bin" / "python")
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is not None:
        _run(name, [uv, "venv", "--quiet", "--python", python, str(folder)])
        _run(name, [uv, "pip", "install", "--python", inside, *peer.requirements])
    else:
        _run(name, [python, "-m", "venv", str(folder)])
        _run(name, [inside, "-m", "pip", "install", "--disable-pip-version-check", *peer.requirements])


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
    npm = shutil.which("npm")
    if npm is None:
        raise PeerError(f"{name} is installed with npm, which is not on the PATH: install Node.js with npm")
    folder.mkdir()
    command = [npm, "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund"]
    _run(name, [*command, "--loglevel=error", *peer.requirements])


def _run(name: str, command: list[str]) -> None:
    # Not in this project's folder, whose pyproject.toml uv would read: the peers' dependencies are not ours.
    if subprocess.run(command, cwd=home(), check=False).returncode != 0:
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
