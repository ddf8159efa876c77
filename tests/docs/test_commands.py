"""Every command that a page shows is run as its reader would, against what `make run` starts."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.docs.pages import MARK, PAGES, ROOT, Block, blocks, difference, name

ELSEWHERE = re.compile(r"^\s*(azd|az|func|docker|kubectl)\b|&& (azd|az|func|docker|kubectl)\b", re.MULTILINE)
NOT_RUN = {"docs/deploy.md": 9, "docs/upgrading.md": 2}
_PATIENCE = 20.0  # seconds until what takes a moment is there

_SCRIPT = """set -aeuo pipefail
make() {{ command make --dry-run "$@" >"$TMPDIR/make"; }}
{text}
env -0 >"$TMPDIR/state"
"""


def commands(page: Path) -> list[tuple[Block, Any]]:
    """What is run of a page, each with the answer that is shown, or None."""
    every = blocks(page.read_text())
    found = []
    for block, after in zip(every, [*every, None][1:], strict=True):
        if block.language == "sh" and not block.needs:
            answer = after is not None and after.language == "json" and not after.above
            found.append((block, orjson.loads(after.text) if after is not None and answer else None))
    return found


RUN = [page for page in PAGES if commands(page)]


class Shell:
    """One reader's shell."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment = environment
        self._folder = folder

    def run(self, block: Block, answer: Any) -> str:
        """What went wrong, or ""."""
        done = subprocess.run(
            ["bash", "-c", _SCRIPT.format(text=block.text)],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=300,
            check=False,
        )
        told = f"\n{done.stdout.decode()[-3000:]}\n{done.stderr.decode()[-3000:]}"
        refused = isinstance(answer, dict) and "traceId" in answer
        if (done.returncode != 0) is not refused:
            return f"it ended with {done.returncode}:{told}"
        if not refused:
            state = (self._folder / "tmp" / "state").read_bytes().decode()
            self._environment = dict(each.split("=", 1) for each in state.split("\0") if each)
        if answer is None:
            return ""
        try:
            real = orjson.loads(done.stdout)
        except orjson.JSONDecodeError:
            return f"it answered no JSON:{told}"
        wrong = difference(answer, real)
        return f"{wrong}{told}" if wrong else ""

    def repeat(self, block: Block, answer: Any) -> str:
        """As `run`; what only reads is read again until it is as shown."""
        deadline = time.monotonic() + _PATIENCE
        while wrong := self.run(block, answer):
            if re.search(r" -d | -X |\bmake |\btntcore ", block.text) or time.monotonic() > deadline:
                return wrong
            time.sleep(0.3)
        return ""


@pytest.mark.parametrize("page", RUN, ids=name)
def test_every_command_of_the_page_works_and_answers_as_shown(
    page: Path, shell: dict[str, str], tmp_path: Path
) -> None:
    reader = Shell(shell, tmp_path)
    for block, answer in commands(page):
        wrong = reader.repeat(block, answer)
        assert not wrong, f"{name(page)}, line {block.line}:\n{block.text}\n{wrong}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_is_not_run_says_so_and_nothing_else_is_left_out(page: Path) -> None:
    left_out = [block for block in blocks(page.read_text()) if block.needs]
    for block in left_out:
        assert block.language == "sh", block.line
        assert ELSEWHERE.search(block.text), f"line {block.line} could be run"
    for block, _ in commands(page):
        assert not ELSEWHERE.search(block.text), f"line {block.line} needs what the tests do not have"
    assert len(left_out) == NOT_RUN.get(name(page), 0)
    assert len([line for line in page.read_text().splitlines() if MARK.fullmatch(line)]) == len(left_out)


def test_what_is_shown_of_an_answer_has_to_be_so() -> None:
    real = {"uuid": "1", "status": "ACTIVE", "hits": [{"a": 1}], "none": None}
    assert difference({"uuid": "...", "status": "ACTIVE", "hits": [{"a": 2}], "none": "x"}, real) == ""
    assert difference({"uuid": "...", "...": "..."}, real) == ""
    assert "has" in difference({"uuid": "..."}, real)
    assert "has no ['other']" in difference({"other": 1, "...": "..."}, real)
    assert "status" in difference({"status": "DONE", "...": "..."}, real)
    assert "uuid" in difference({"uuid": 1, "...": "..."}, real)
    assert "hits[0]" in difference({"hits": [{"b": 1}], "...": "..."}, real)
    assert "empty" in difference([1], [])
