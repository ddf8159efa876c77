"""The version: in one place, and shown with the commit."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tntcore.cli import main
from tntcore.version import VERSION

ROOT = Path(__file__).parents[3]


def test_the_command_line_says_version_and_commit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "commit", lambda: "f00d")
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"tntcore {VERSION} (commit f00d)\n"


def test_a_checkout_says_its_commit_and_any_other_folder_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "commit", lambda: "")
    assert main.main(["--version"]) == 0
    assert re.fullmatch(rf"tntcore {re.escape(VERSION)}( \(commit [0-9a-f]{{40}}\))?\n", capsys.readouterr().out)
    monkeypatch.setenv("PATH", "")
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"tntcore {VERSION}\n"


def test_the_project_and_the_changelog_have_the_version() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
    [newest, *_] = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert VERSION in newest
