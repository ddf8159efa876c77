"""`python -m devtools.requirements [--check]`: write requirements.txt from uv.lock, or fail if it is stale.

requirements.txt is what an installation without uv takes, such as a deployment's. It has every package of the lock but
the development ones, each with its version and the hashes of its files.
"""

import argparse
import difflib
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADER = """\
# Exported from uv.lock by `make requirements`; do not edit.
# Install it without dependency resolution, which would meet the pins that pyproject.toml lifts (docs/deploy.md):
#   uv pip install --no-deps -r requirements.txt
#   PIP_NO_DEPS=1 pip install -r requirements.txt
"""


def find_uv() -> str:
    """Path of uv. Raises `FileNotFoundError`."""
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise FileNotFoundError("uv is neither beside this Python nor on the PATH: run `make install`")
    return uv


def export(root: Path) -> str:
    """What requirements.txt has to be for the lock in `root`. Raises `CalledProcessError` if uv cannot read it."""
    command = [
        find_uv(),
        "export",
        "--frozen",
        "--no-dev",
        "--no-emit-project",
        "--no-header",
        "--no-annotate",
        "--quiet",
    ]
    done = subprocess.run([*command, "--format", "requirements.txt"], cwd=root, stdout=subprocess.PIPE, check=True)
    return HEADER + done.stdout.decode()


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Exit code 1 with the first differences when `--check` finds the file stale."""
    parser = argparse.ArgumentParser(prog="python -m devtools.requirements", description="Export requirements.txt.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the file is stale")
    checking = parser.parse_args(arguments).check
    file = root / "requirements.txt"
    wanted = export(root)
    found = file.read_text() if file.exists() else ""
    if found == wanted:
        return 0
    if not checking:
        file.write_text(wanted)
        print(f"{file.name} written")
        return 0
    print(f"{file.name} is not what uv.lock says; run `make requirements` and commit it. Differences:", file=sys.stderr)
    lines = difflib.unified_diff(found.splitlines(), wanted.splitlines(), "there", "wanted", n=0, lineterm="")
    print("\n".join(islice(lines, 20)), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
