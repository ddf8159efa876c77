"""The operator's folder of contexts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tntcore.config import ConfigError
from tntcore.credentials.contexts_given import read_folder

URL = "https://partner.example/v1"


def test_the_folder(tmp_path: Path) -> None:
    document = {"@context": {"level": "https://partner.example/other"}}
    (tmp_path / "partner.json").write_text(json.dumps(document))
    (tmp_path / "index.json").write_text(json.dumps({URL: "partner.json"}))
    assert read_folder(tmp_path) == {URL: document}
    assert read_folder(None) == {}


@pytest.mark.parametrize(
    ("index", "content", "told"),
    [
        (None, "{}", "index.json"),
        ("[]", "{}", "index.json"),
        ("{", "{}", "JSON"),
        ('{"https://partner.example/v1": "gone.json"}', "{}", "gone.json"),
        ('{"https://partner.example/v1": "partner.json"}', "{}", "@context"),
        ('{"https://partner.example/v1": "partner.json"}', "<html>", "JSON"),
        ('{"https://w3id.org/citizenship/v1": "partner.json"}', '{"@context": {}}', "comes with the service"),
    ],
)
def test_a_folder_that_cannot_be_used(tmp_path: Path, index: str | None, content: str, told: str) -> None:
    (tmp_path / "partner.json").write_text(content)
    if index is not None:
        (tmp_path / "index.json").write_text(index)
    with pytest.raises(ConfigError, match=told):
        read_folder(tmp_path)
