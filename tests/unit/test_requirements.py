"""requirements.txt: what the lock says, all that the service imports, and nothing of the development group."""

from __future__ import annotations

import ast
import re
import shutil
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from devtools import requirements
from devtools.package import APART

ROOT = Path(__file__).parents[2]
FILE = ROOT / "requirements.txt"


def normal(name: str) -> str:
    """A distribution's name as the lock has it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required() -> dict[str, set[str]]:
    """The versions of each distribution named."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", FILE.read_text(), re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


def test_it_is_what_the_lock_says() -> None:
    assert requirements.main(["--check"]) == 0


def test_a_stale_one_is_noticed_and_written_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("pyproject.toml", "uv.lock"):
        shutil.copy(ROOT / name, tmp_path)
    stale = re.sub(r"(?m)^aiohttp==.*\\$", r"aiohttp==1.0 \\", FILE.read_text())
    (tmp_path / "requirements.txt").write_text(stale)
    assert requirements.main(["--check"], tmp_path) == 1
    told = capsys.readouterr().err
    assert "make requirements" in told
    assert "-aiohttp==1.0 \\" in told
    assert (tmp_path / "requirements.txt").read_text() == stale
    assert requirements.main([], tmp_path) == 0
    assert (tmp_path / "requirements.txt").read_text() == FILE.read_text()


def test_every_line_pins_a_version_with_hashes_and_names_no_index() -> None:
    lines = [line for line in FILE.read_text().replace("\\\n", " ").splitlines() if not line.startswith("#")]
    for line in lines:
        assert re.fullmatch(r"[a-z0-9-]+==\S+( ; [^\\]+?)?(\s+--hash=sha256:[0-9a-f]{64})+", line), line
    assert len(lines) > 20


def test_it_has_what_the_project_asks_for_and_nothing_that_only_development_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = {normal(re.split(r"[<>=;~! ]", text)[0]) for text in project["project"]["dependencies"]}
    assert asked <= required().keys()
    groups = project["dependency-groups"]
    development = {
        normal(re.split(r"[<>=;~! ]", text)[0]) for group in groups.values() for text in group if isinstance(text, str)
    }
    # azure-core asks for the one; the other is the service's own, too.
    assert (development & required().keys()) <= {"pynacl", "requests", "segno"}


def test_the_service_imports_nothing_that_is_not_deployed() -> None:
    imported: dict[str, Path] = {}
    for file in [ROOT / "function_app.py", *(ROOT / "tntcore").rglob("*.py")]:
        if APART & {relative := file.relative_to(ROOT), *relative.parents}:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            imported.update({name.split(".")[0]: file for name in names})
    distributions = packages_distributions()
    for module, file in imported.items():
        if module in sys.stdlib_module_names or module in ("tntcore", "function_app"):
            continue
        assert {normal(name) for name in distributions[module]} & required().keys(), f"{module}, imported by {file}"
