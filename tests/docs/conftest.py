from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.ports import free_ports, is_free
from tests.docs.pages import ROOT

_READY = "Ctrl-C ends everything."


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What `make run` prints while it goes on running. It is stopped as by Ctrl-C and leaves nothing."""
    folder = tmp_path_factory.mktemp("run")
    output = folder / "output.txt"
    port, hook, blob, queue, table = free_ports(5)
    names = {"PORT": port, "HOOK_PORT": hook, "BLOB_PORT": blob, "QUEUE_PORT": queue, "TABLE_PORT": table}
    settings = {key: value for key, value in os.environ.items() if not key.startswith(("TNT_", "Azure", "MAKE"))}
    with output.open("w") as written:
        # What is installed is what the tests run on: -o leaves it as it is.
        running = subprocess.Popen(
            ["make", "-o", ".venv/.installed", "run", *(f"{key}={value}" for key, value in names.items())],
            cwd=ROOT,
            env={**settings, "TNT_MASTER_KEY_FILE": str(folder / "master-keys.json")},
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while _READY not in (text := output.read_text()):
            assert running.poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.1)
        yield text
    finally:
        os.killpg(running.pid, signal.SIGINT)
        running.wait(30)
    text = output.read_text()
    assert "Stopping" in text
    assert "Traceback" not in text
    deadline = time.monotonic() + 5
    while taken := [each for each in names.values() if not is_free(each)]:
        assert time.monotonic() < deadline, taken
        time.sleep(0.1)


@pytest.fixture
def shell(shown: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a reader's shell: what `make run` has them paste, and the project's Python.

    What curl is answered with 400 and more is a failure here.
    """
    (tmp_path / ".curlrc").write_text("fail-with-body\nmax-time = 60\n")
    (tmp_path / "tmp").mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("TNT_", "Azure", "MAKE"))}
    environment |= {
        "PATH": f"{ROOT / '.venv' / 'bin'}:{environment['PATH']}",
        "CURL_HOME": str(tmp_path),
        "TMPDIR": str(tmp_path / "tmp"),
    }
    for line in re.findall(r"^export (.+)$", shown, re.MULTILINE):
        environment |= dict(each.split("=", 1) for each in shlex.split(line))
    assert {"URL", "OPERATOR", "ACME", "BOLT", "CONTACT", "AzureWebJobsStorage"} <= environment.keys()
    return environment
