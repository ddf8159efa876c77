"""The API called as its description says, and as it does not: no server error, and no answer that it does not know."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.commands import run
from tests.stack import ROOT, Stack

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
async def test_whatever_it_is_called_with(stack: Stack, tmp_path: Path, part: int) -> None:
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
            *("--request-timeout", "30", "--seed", "7391", "--no-shrink"),
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
