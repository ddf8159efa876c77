"""The service under Microsoft's worker library, which needs Python 3.13: run there, in a process of its own."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.contract.test_bindings import INTERPRETER, ROOT

# What two tenants do, what hosts and browsers ask, and what is particular to the library.
RUN = (
    "tests/contract/worker/through_library.py",
    "tests/contract/host",
    "tests/scenarios/test_http.py",
    "tests/scenarios/test_message.py",
)


def test_the_service_runs_under_the_workers_library() -> None:
    if not INTERPRETER.exists():
        reason = f"the worker library needs Python 3.13, and {INTERPRETER} does not exist (`make test` creates it)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    done = subprocess.run(
        [str(INTERPRETER), "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--show-capture=no", *RUN],
        cwd=ROOT,
        env={**os.environ, "WORKER_LIBRARY": "true"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
