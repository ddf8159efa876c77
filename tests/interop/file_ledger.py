"""The file that stands in for an Indy ledger with ACA-Py (`plugins/file_ledger`), as a registry here: what the agent
wrote is read, and identities that have an issuer's DID there publish in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson

from tntcore.credentials.anoncreds.registry import Json, is_unqualified
from tntcore.credentials.formats import FormatError


class FileLedger:
    """See `Registry` and `Publisher`. The agent has revocation registries in the file; we have none."""

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
        schema = next(one["id"] for one in _read("schema").values() if str(one["seqNo"]) == number)
        return {
            "issuerId": identifier.partition(":")[0],
            "schemaId": schema,
            **{name: found[name] for name in ("type", "tag", "value")},
        }

    async def revocation_registry_definition(self, identifier: str) -> Json:
        found = self._find("rev_reg", identifier)
        names = ("revocDefType", "credDefId", "tag", "value")
        return {"issuerId": identifier.partition(":")[0], **{name: found[name] for name in names}}

    async def revocation_status_list(self, identifier: str, timestamp: int) -> Json:
        maximum = self._find("rev_reg", identifier)["value"]["maxCredNum"]
        entries = [one for one in self._find("rev_entry", identifier) if one["time"] <= timestamp]
        if not entries:
            raise FormatError("not-published", identifier)
        return {
            "issuerId": identifier.partition(":")[0],
            "revRegDefId": identifier,
            "revocationList": [int(number in entries[-1]["revoked"]) for number in range(maximum + 1)],
            "currentAccumulator": entries[-1]["accum"],
            "timestamp": entries[-1]["time"],
        }

    async def issuer_id(self, did: str) -> str:
        return str(_read("issuer").get(did, ""))

    async def publish_schema(self, schema: Json) -> str:
        identifier = f"{schema['issuerId']}:2:{schema['name']}:{schema['version']}"
        number = 10 + len(_read("schema")) + len(_read("cred_def"))
        parts = {name: schema[name] for name in ("name", "version", "attrNames")}
        _write("schema", identifier, {"id": identifier, "ver": "1.0", **parts, "seqNo": number})
        return identifier

    async def publish_credential_definition(self, definition: Json) -> str:
        number = str(self._find("schema", definition["schemaId"])["seqNo"])
        identifier = f"{definition['issuerId']}:3:CL:{number}:{definition['tag']}"
        parts = {name: definition[name] for name in ("type", "tag", "value")}
        _write("cred_def", identifier, {"id": identifier, "ver": "1.0", "schemaId": number, **parts})
        return identifier

    def _find(self, kind: str, identifier: str) -> Any:
        found = _read(kind).get(identifier)
        if found is None:
            raise FormatError("not-published", identifier)
        return found


def open_registry() -> FileLedger:
    return FileLedger()


def enter_issuer(did: str, issuer: str) -> None:
    """From now on the identity with this DID issues under the unqualified DID `issuer`."""
    _write("issuer", did, issuer)


def _read(kind: str) -> dict[str, Any]:
    return dict(_content().get(kind, {}))


def _content() -> dict[str, Any]:
    path = os.environ.get("LEDGER_FILE", "")
    return dict(orjson.loads(Path(path).read_bytes())) if path and Path(path).exists() else {}


def _write(kind: str, name: str, value: Any) -> None:
    """The agent and we take turns: nobody else writes meanwhile."""
    content = {"nym": {}, "schema": {}, "cred_def": {}, **_content()}
    content.setdefault(kind, {})[name] = value
    Path(os.environ["LEDGER_FILE"]).write_bytes(orjson.dumps(content))
