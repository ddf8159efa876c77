"""The test that follows a deployment, tried where the service works and where it does not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import requests

from devtools.ports import free_ports
from devtools.smoke import main
from tests.stack import Stack


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is called, as `METHOD path`."""
    made: list[str] = []
    request = requests.Session.request

    def noting(session: requests.Session, method: str, url: str, **rest: Any) -> requests.Response:
        made.append(f"{method} {url.partition('/api/')[2]}")
        return request(session, method, url, **rest)

    monkeypatch.setattr(requests.Session, "request", noting)
    return made


async def smoke(monkeypatch: pytest.MonkeyPatch, *arguments: str, key: str) -> int:
    monkeypatch.setenv("OPERATOR", key)
    return await asyncio.to_thread(main, list(arguments))


async def deleted(stack: Stack, calls: list[str]) -> int:
    """How many tenants were registered and are gone."""
    paths = [call.removeprefix("DELETE ") for call in calls if call.startswith("DELETE principal/")]
    assert len(paths) == calls.count("POST principal")
    for path in paths:
        shown = await stack.call("GET", path, **stack.operator)
        assert shown.json()["status"] == "DELETED"
    return len(paths)


async def test_it_sends_a_message_and_leaves_nothing(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], calls: list[str]
) -> None:
    assert await smoke(monkeypatch, stack.url + "/", key=stack.operator["tnt_operator_key"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["A message arrived.", "Both tenants are deleted: it works."]
    assert await deleted(stack, calls) == 2


async def test_it_says_what_does_not_work_and_leaves_nothing(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], calls: list[str]
) -> None:
    # Nobody is connected within no time at all.
    assert await smoke(monkeypatch, stack.url, "--patience", "0", key=stack.operator["tnt_operator_key"]) == 1
    assert "The service does not work. connect: not within 0 s" in capsys.readouterr().err
    assert await deleted(stack, calls) == 2
    assert await smoke(monkeypatch, stack.url, key="wrong") == 1
    assert "POST principal was answered 401" in capsys.readouterr().err
    assert await smoke(monkeypatch, f"http://127.0.0.1:{free_ports(1)[0]}", "--patience", "0", key="x") == 1
    assert "GET health got no answer" in capsys.readouterr().err
    assert await smoke(monkeypatch, stack.url, key="") == 2
