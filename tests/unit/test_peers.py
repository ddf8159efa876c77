"""What the interop tests talk to is installed once, completely, or with a word about what is missing."""

from __future__ import annotations

import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from devtools import peers
from devtools.peers import Peer, PeerError

NPM = """#!/bin/sh
echo "$@" >> "$PEERS_HOME/calls"
sleep 0.2
[ ! -e "$PEERS_HOME/refuse" ]
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, two peers, and an npm that installs nothing."""
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(NPM)
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PEERS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(peers, "PEERS", {"left": Peer("left", ("left@1",)), "old": Peer("old", ("old==1",), ("2.4",))})
    return tmp_path / "home"


def calls(home: Path) -> int:
    return len((home / "calls").read_text().splitlines())


def test_it_is_installed_once_also_by_several_at_once(home: Path) -> None:
    assert not peers.installed("left")
    with ThreadPoolExecutor(4) as together:
        assert set(together.map(peers.install, ["left"] * 4)) == {home / "left"}
    assert peers.installed("left")
    assert peers.install("left") == home / "left"
    assert calls(home) == 1


def test_what_was_cut_short_is_done_again(home: Path) -> None:
    (home / "left").mkdir(parents=True)
    (home / "left" / "half").write_text("")
    assert not peers.installed("left")
    peers.install("left")
    assert not (home / "left" / "half").exists()


def test_another_version_is_installed_anew(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peers.install("left")
    monkeypatch.setattr(peers, "PEERS", {"left": Peer("left", ("left@2",))})
    assert not peers.installed("left")
    peers.install("left")
    assert peers.installed("left")
    assert calls(home) == 2


def test_what_is_locked_is_installed_and_anew_with_another_lock(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "ROOT", tmp_path)
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked" / "package.json").write_text("{}")
    (tmp_path / "locked" / peers.LOCK).write_text("one")
    wheel = tmp_path / "native-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("native/libnative.so", "machine code")
        archive.writestr("native-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: native\nVersion: 1\n")
        archive.writestr("native-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("native-1.dist-info/RECORD", "")
    peer = Peer("both", (str(wheel),), lock="locked", compiled=("addon",))
    monkeypatch.setattr(peers, "PEERS", {"both": peer})
    folder = peers.install("both")
    assert (folder / "lib" / "native" / "libnative.so").read_text() == "machine code"
    assert (folder / peers.LOCK).read_text() == "one"
    clean_install, rebuild = (home / "calls").read_text().splitlines()
    assert clean_install.startswith("ci ")
    assert "--ignore-scripts" in clean_install
    assert rebuild.startswith("rebuild ")
    assert rebuild.endswith(" addon")
    assert peers.installed("both")
    (tmp_path / "locked" / peers.LOCK).write_text("two")
    assert not peers.installed("both")


def test_a_failed_installation_is_no_installation(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home.mkdir()
    (home / "refuse").write_text("")
    with pytest.raises(PeerError, match=r"left cannot be installed: .*npm install .* left@1` failed"):
        peers.install("left")
    assert not peers.installed("left")
    assert peers.main(["left"]) == 1
    assert capsys.readouterr().err.startswith("peers: left cannot be installed")
    (home / "refuse").unlink()
    assert peers.main(["left"]) == 0


def test_a_missing_python_or_npm_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PeerError, match=r"old needs Python 2\.4, .* PYTHON24=path"):
        peers.install("old")
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(PeerError, match="npm, which is not on the PATH"):
        peers.install("left")


def test_an_interpreter_that_is_gone_makes_an_environment_incomplete(home: Path) -> None:
    python = home / "old" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(home / "gone")
    (home / "old" / peers.DONE).write_text("old==1\n")
    assert not peers.installed("old")
    (home / "gone").write_text("")
    assert peers.installed("old")
