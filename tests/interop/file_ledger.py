"""What ACA-Py writes to the file that stands in for an Indy ledger (`plugins/file_ledger`), as a registry here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson

from tntcore.credentials.anoncreds_registry import Json, is_unqualified
from tntcore.credentials.formats import FormatError


class FileLedger:
    """See `Registry`. There are no revocation registries in the file."""

    def reads(self, identifier: str) -> bool:
        return is_unqualified(identifier)

    async def schema(self, identifier: str) -> Json:
        found = self._find("schema", identifier)
        return {
            "issuerId": identifier.partition(":")[0],
            **{name: found[name] for name in ("name", "version", "attrNames")},
        }

    async def credential_definition(self, identifier: str) -> Json:
        found = self._find("cred_def", identifier)
        number = str(found["schemaId"])
        schema = next(one["id"] for one in self._all("schema").values() if str(one["seqNo"]) == number)
        return {
            "issuerId": identifier.partition(":")[0],
            "schemaId": schema,
            **{name: found[name] for name in ("type", "tag", "value")},
        }

    async def revocation_registry_definition(self, identifier: str) -> Json:
        raise FormatError("not-published", identifier)

    async def revocation_status_list(self, identifier: str, timestamp: int) -> Json:
        raise FormatError("not-published", identifier)

    def _find(self, kind: str, identifier: str) -> Any:
        found = self._all(kind).get(identifier)
        if found is None:
            raise FormatError("not-published", identifier)
        return found

    def _all(self, kind: str) -> dict[str, Any]:
        path = os.environ.get("LEDGER_FILE")
        return dict(orjson.loads(Path(path).read_bytes())[kind]) if path else {}


def open_registry() -> FileLedger:
    return FileLedger()
