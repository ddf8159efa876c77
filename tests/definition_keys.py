"""Keys of AnonCreds credential definitions, which take seconds of a processor: made once for all tests of a run."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from tntcore.credentials.anoncreds import work
from tntcore.workers import Workers


class DefinitionKeys:
    """The first definition of some attributes, with or without revocation, is made by the library. Others of these
    attributes get its keys, under their own names.

    Args:
        folder: of all processes of a run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def share(self, workers: Workers) -> None:
        """Has definitions of these workers made so. An unusual tag goes to the library, which may refuse it."""
        run = workers.run

        async def kept_or_run(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
            if function is not work.define or not args[3].isprintable():
                return await run(function, *args, **options)
            schema_id, schema, issuer_id, tag, revocable = args
            wanted = orjson.dumps([sorted(orjson.loads(schema)["attrNames"]), revocable])
            path = self._folder / f"definition-{hashlib.sha256(wanted).hexdigest()}"
            with path.open("ab") as file:
                await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_EX)
                if not path.stat().st_size:
                    path.write_bytes(orjson.dumps(await run(function, *args, **options)))
            public, private, proof = orjson.loads(path.read_bytes())
            named = {**orjson.loads(public), "schemaId": schema_id, "issuerId": issuer_id, "tag": tag}
            return orjson.dumps(named).decode(), private, proof

        workers.run = kept_or_run  # type: ignore[method-assign]
