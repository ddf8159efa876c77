"""The API called as its description says, and as it does not: no server error, and no answer that it does not know."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.commands import run
from tests.stack import ROOT, Stack
from tntcore.credentials.anoncreds import work

CHECKS = (
    "not_our_error",
    "described_code",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
PARTS = 4  # which run side by side
PATIENCE = 300


@pytest.mark.parametrize("part", range(PARTS))
async def test_whatever_it_is_called_with(
    stack: Stack, tmp_path: Path, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = stack.app.services.slow_workers
    monkeypatch.setattr(workers, "run", keeping_keys(workers.run))
    client = await stack.register("Fuzzed")
    tags = sorted(
        {tag for item in stack.described.document["paths"].values() for one in item.values() for tag in one["tags"]}
    )
    assert len(tags) > PARTS
    try:
        code, said, _ = await run(
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{stack.url}/api/openapi.json",
            *(option for tag in tags[part::PARTS] for option in ("--include-tag", tag)),
            *("--header", f"tnt-subscription-key: {client.key}"),
            *("--header", f"tnt-operator-key: {stack.operator['tnt_operator_key']}"),
            *("--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing", "--max-examples", "30"),
            *("--request-timeout", "120", "--seed", "7391", "--no-shrink"),
            *("--generation-database", "none", "--warnings", "off", "--no-color"),
            # Keys of nobody, or a paused clock of the machine's, are no failure of the service.
            *("--suppress-health-check", "all"),
            cwd=tmp_path,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.contract.own_errors", "PYTHONPATH": str(ROOT)},
            stderr=asyncio.subprocess.STDOUT,
            seconds=PATIENCE,
        )
    finally:
        # It tries what it was answered, and so may revoke the key that it calls with.
        await stack.make_operator()
    text = said.decode()
    assert code == 0, text[-20_000:]
    assert "No issues found" in text, text[-20_000:]


def keeping_keys(run: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Returns a `Workers.run` that makes the keys of credential definitions once for each schema, with and without
    revocation, unless their tag is unusual: they take two seconds of a processor."""
    kept: dict[tuple[str, bool], tuple[str, str, str]] = {}

    async def kept_or_run(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if function is not work.define or not args[3].isprintable():
            return await run(function, *args, **options)
        schema_id, schema, issuer_id, tag, revocable = args
        if (schema, revocable) not in kept:
            kept[schema, revocable] = await run(function, *args, **options)
        public, definition, proof = kept[schema, revocable]
        named = {**orjson.loads(public), "schemaId": schema_id, "issuerId": issuer_id, "tag": tag}
        return orjson.dumps(named).decode(), definition, proof

    return kept_or_run
