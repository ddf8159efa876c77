"""Tools that make clients of the API from its description: openapi-python-client, and openapi-typescript from npm."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from devtools import npm

FOLDER = Path(__file__).parent
_BIN = Path(sys.executable).parent


def install() -> None:
    """Installs what comes from npm, unless it is there. Raises `devtools.npm.NpmError`."""
    npm.install(FOLDER, "openapi-typescript (for the tests of clients)")


def python_client(description: Path, package: Path) -> str:
    """Makes a Python package of a description; returns what the tool says. Raises `RuntimeError`."""
    command = [str(_BIN / "openapi-python-client"), "generate", "--path", str(description), "--meta", "none"]
    # It calls ruff, which it looks for on the PATH.
    environ = {**os.environ, "PATH": f"{_BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
    return _run([*command, "--output-path", str(package), "--overwrite"], environ)


def typescript_client(description: Path, folder: Path, program: Path) -> Path:
    """Makes types of a description, checks a program that uses them, and compiles it. Returns the script, which
    Node.js runs. Raises `RuntimeError`.
    """
    node = npm.find_node("The TypeScript compiler")
    modules = FOLDER / "node_modules"
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(modules)
    (folder / "package.json").write_text('{"type": "module"}')
    source = folder / program.name
    source.write_bytes(program.read_bytes())
    tool = modules / "openapi-typescript" / "bin" / "cli.js"
    _run([node, str(tool), str(description), "--output", str(folder / "schema.d.ts")])
    compiler = modules / "typescript" / "bin" / "tsc"
    options = ["--strict", "--noUncheckedIndexedAccess", "--target", "es2022", "--module", "nodenext"]
    _run([node, str(compiler), *options, "--lib", "es2022,dom,dom.iterable", str(source)])
    return source.with_suffix(".js")


def _run(command: list[str], environ: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout[-5000:]}{done.stderr[-5000:]}")
    return done.stdout + done.stderr
