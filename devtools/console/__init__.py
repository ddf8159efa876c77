"""The console's source, and the script that esbuild makes of it; `make console` writes it into tntcore."""

import subprocess
from pathlib import Path

from devtools import npm

FOLDER = Path(__file__).parent
SERVED = FOLDER.parent.parent / "tntcore" / "api" / "console"
_OPTIONS = ("--bundle", "--minify", "--format=iife", "--target=es2022", "--charset=utf8", "--legal-comments=none")


def install() -> None:
    """Installs what the console is built and tested with, unless it is there. Raises `devtools.npm.NpmError`."""
    npm.install(FOLDER, "esbuild (for the console)")


def bundle() -> bytes:
    """Returns the console's script, made of its source. Raises `NpmError`, or `CalledProcessError` if it has errors."""
    install()
    esbuild = FOLDER / "node_modules" / "esbuild" / "bin" / "esbuild"
    command = [npm.find_node("The console"), str(esbuild), str(FOLDER / "src" / "main.js"), *_OPTIONS]
    return subprocess.run(command, cwd=FOLDER, capture_output=True, check=True).stdout
