"""`python -m devtools.package --python 3.13`: what is deployed, as the folder dist/package and as dist/package.zip.

The service and the packages of requirements.txt for that Python on Linux x86_64, as wheels, in the place where the
platform looks for them, with bytecode that is taken as it is. Built on any machine; the same input gives the same
bytes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from devtools.requirements import ROOT, find_uv

PYTHONS = ("3.11", "3.12", "3.13")
# glibc 2.28: older than that of every image that the platform runs these Pythons on.
PLATFORM = "x86_64-manylinux_2_28"
# Pure Python that was never published as a wheel; everything else has to be one, for the platform.
NO_WHEEL = "varint"
PACKAGES = Path(".python_packages", "lib", "site-packages")
# Of the project: what runs, and no more.
SOURCES = ("function_app.py", "host.json", "tntcore")
# Of these, the command line: it runs elsewhere, on packages that are not deployed.
APART = {Path("tntcore", "cli"), Path("tntcore", "__main__.py")}
# Of the packages: what only compilers, installers and type checkers read.
SUFFIXES = {".pyc", ".pyi", ".pyx", ".pxd", ".c", ".h", ".cpp", ".hpp", ".pxi"}
NAMES = {"py.typed", "RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
FOLDERS = {"__pycache__", "bin", "SelfTest", "isoschematron"}
# Tests that packages carry of themselves. A `testing` is what others' tests import, and may be imported by a package.
TESTS = {"tests", "test"}
# Where the platform puts the package: tracebacks name its files there.
PLACE = "/home/site/wwwroot"
# azd leaves __pycache__ out of what it sends, unless the folder says itself what to leave out.
FUNCIGNORE = "# Everything here is deployed, bytecode included.\n"
_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip file can say


def install(root: Path, python: str, target: Path, *options: str) -> None:
    """Puts the packages of requirements.txt into `target`. Raises `CalledProcessError`, with uv's words printed."""
    command = [
        find_uv(),
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "--no-binary",
        NO_WHEEL,
    ]
    command += ["--python-version", python, "--python-platform", PLATFORM, "--target", str(target)]
    command += ["--link-mode", "copy", "--no-config", "--requirements", str(root / "requirements.txt"), *options]
    subprocess.run(command, check=True)


def build(root: Path, python: str, folder: Path) -> None:
    """Makes `folder`, which is replaced. Raises `CalledProcessError` where a package has no wheel for that Python."""
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        install(root, python, Path(scratch))
        for file in _needed(Path(scratch)):
            _copy(file, folder / PACKAGES / file.relative_to(scratch))
    for name in SOURCES:
        source = root / name
        for file in [source] if source.is_file() else _needed(source):
            relative = file.relative_to(root)
            if not APART & {relative, *relative.parents}:
                _copy(file, folder / relative)
    (folder / "requirements.txt").write_text("# Nothing is to be installed: it is all in .python_packages.\n")
    (folder / ".funcignore").write_text(FUNCIGNORE)
    if known := _commit(root):
        (folder / "tntcore" / "COMMIT").write_text(known + "\n")
    compile_all(folder, python)


def _commit(root: Path) -> str:
    """The commit of the checkout; "" where there is none, or no git."""
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def compile_all(folder: Path, python: str) -> None:
    """Writes the bytecode of all modules, for a Python that then looks neither at their time nor at their content.

    Without a Python of that version here there is none, and every process of the service compiles for itself.
    """
    interpreter = find_python(python)
    if interpreter is None:
        print(f"No Python {python} was found here, so the package has no bytecode: each process compiles it all.")
        return
    command = [interpreter, "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"]
    # The order of what is in a set is part of the bytecode.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    subprocess.run([*command, "-s", str(folder), "-p", PLACE, str(folder)], check=True, env=environment)


def find_python(version: str) -> str | None:
    """Returns the path of an interpreter of that version, or None."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    found = subprocess.run([ROOT / "devtools" / "find-python", version], capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


def pack(folder: Path, archive: Path) -> None:
    """The folder as a zip file whose bytes follow from the names and contents alone."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, which makes the next line mean something
            entry.external_attr = 0o100644 << 16
            packed.writestr(entry, file.read_bytes())


def _needed(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.rglob("*")):
        parts = file.relative_to(folder).parts
        left_out = FOLDERS & set(parts) or TESTS & set(parts[1:-1])
        if file.is_file() and not (file.suffix in SUFFIXES or file.name in NAMES or left_out):
            yield file


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def main(arguments: list[str] | None = None) -> int:
    """The command line: exit code 1 where a package has no wheel, as uv says."""
    parser = argparse.ArgumentParser(prog="python -m devtools.package", description="Build what is deployed.")
    parser.add_argument("--python", choices=PYTHONS, default=PYTHONS[-1], help="that the app runs on (%(default)s)")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder for both forms (%(default)s)")
    chosen = parser.parse_args(arguments)
    folder, archive = chosen.output / "package", chosen.output / "package.zip"
    try:
        build(ROOT, chosen.python, folder)
    except subprocess.CalledProcessError as error:
        return int(error.returncode) or 1
    pack(folder, archive)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{archive}: {archive.stat().st_size / 1e6:.1f} MB, unpacked {size / 1e6:.1f} MB, for Python {chosen.python}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
