"""Runs `python -m tntcore` in processes that are forked from one which has imported what most commands need. Each is a
process of its own with its own environment, folder and files, but Python is not started anew for each: that takes more
of the processor than what most commands do.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__, "requests", "tntcore.cli.main"])
_NAMES = ("input", "output", "errors")


def run(
    arguments: Sequence[str], piped: str, folder: Path, environment: Mapping[str, str], seconds: float
) -> tuple[int, str, str]:
    """Runs one command. Returns its exit code, its output and its errors; raises `TimeoutError`."""
    with TemporaryDirectory() as files:
        paths = [Path(files, name) for name in _NAMES]
        for path, text in zip(paths, (piped, "", ""), strict=True):
            path.write_text(text)
        process = _FORKS.Process(target=_become, args=(arguments, folder, dict(environment), paths))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"{arguments} did not end within {seconds} s")
        return process.exitcode, paths[1].read_bytes().decode(), paths[2].read_bytes().decode()


def _become(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], paths: Sequence[Path]) -> None:
    """Makes the forked process what a shell would have started."""
    for number, path in enumerate(paths):
        file = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY)
        os.dup2(file, number)
        os.close(file)
    # Python has set these up already, for the files of the process that was forked.
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115  they stay open
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv[1:] = arguments
    runpy.run_module("tntcore", run_name="__main__", alter_sys=True)
