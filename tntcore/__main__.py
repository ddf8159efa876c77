"""`python -m tntcore`: the command line, see `tntcore.cli`. This file can be read by any Python 3."""

import sys

OLDEST, NEWEST = (3, 11), (3, 13)


def run():
    # type: () -> int
    """Runs the command line and returns its exit code; 2 under a Python that cannot run it."""
    version = "Python {}.{}".format(*sys.version_info[:2])
    if not OLDEST <= tuple(sys.version_info[:2]) <= NEWEST:
        return _refuse(version + " cannot run this. Use Python 3.11, 3.12 or 3.13.")
    try:
        from tntcore.cli.main import main
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] == "tntcore":
            raise
        return _refuse(f"{version} ({sys.executable}) has no package {error.name!r}.")
    return main()


def _refuse(reason):
    # type: (str) -> int
    sys.stderr.write(
        f"error: {reason}\n  In the project's folder, run `make install` (or `uv sync --only-group cli`) once,\n"
        "  and `source .venv/bin/activate` in each terminal.\n"
    )
    return 2


if __name__ == "__main__":
    sys.exit(run())
