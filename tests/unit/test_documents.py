"""What the documents say is so: settings, targets, links, and code to copy."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tntcore.webhooks import new_secret, sign

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_readme_lists_every_setting() -> None:
    setting = r"(TNT_[A-Z_]+|AzureWebJobsStorage\w*)"
    read = set(re.findall(f'"{setting}"', (ROOT / "tntcore" / "config.py").read_text()))
    rows = re.findall(r"^\| (`[^|]+`) \|", README, re.MULTILINE)
    listed = {name for row in rows for name in re.findall(f"`{setting}`", row)}
    assert read == listed


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere_and_targets_exist(document: Path) -> None:
    text = document.read_text()
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (document.parent / link).exists(), link
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)", text)) | set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE))
    assert named <= targets


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    for file in folder.glob("0*.md"):
        assert f"({file.name})" in index


def test_the_readmes_signature_check_takes_what_the_service_signs_and_nothing_else() -> None:
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    defined: dict[str, Any] = {}
    exec(code, defined)
    is_genuine = defined["is_genuine"]
    secret, other = new_secret(os.urandom), new_secret(os.urandom)
    now = int(time.time())
    headers = sign([other, secret], "msg", now, b"{}")
    assert is_genuine(secret, headers, b"{}")
    assert not is_genuine(secret, headers, b"{ }")
    assert not is_genuine(secret, sign([other], "msg", now, b"{}"), b"{}")
    assert not is_genuine(secret, sign([secret], "msg", now - 400, b"{}"), b"{}")
