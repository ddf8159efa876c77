"""A plugin for ACA-Py 1.2.7: a JSON file, `$LEDGER_FILE`, in place of an Indy ledger. Wallets and signatures are real.

It is run by the agent's Python, not by this project's.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

_base: Any = importlib.import_module("acapy_agent.ledger.base")
_wallet: Any = importlib.import_module("acapy_agent.wallet.base")
_tails: Any = importlib.import_module("acapy_agent.tails.base")
_profile: Any = importlib.import_module("acapy_agent.askar.profile")


def _read() -> dict[str, Any]:
    path = Path(os.environ["LEDGER_FILE"])
    empty: dict[str, Any] = {"nym": {}, "schema": {}, "cred_def": {}, "rev_reg": {}, "rev_entry": {}}
    return {**empty, **json.loads(path.read_text())} if path.exists() else empty


def _write(kind: str, name: str, value: Any) -> None:
    content = _read()
    content[kind][name] = value
    Path(os.environ["LEDGER_FILE"]).write_text(json.dumps(content))


class FileLedger(_base.BaseLedger):  # type: ignore[misc]
    """What `BaseLedger` declares and is not here is made to refuse, below."""

    BACKEND_NAME = "file"
    pool_name = "file"
    read_only = False
    profile: Any = None

    def __init__(self) -> None:
        return None

    async def is_ledger_read_only(self) -> bool:
        return False

    async def get_key_for_did(self, did: str) -> Any:
        return _read()["nym"].get(self.did_to_nym(did))

    async def get_endpoint_for_did(self, did: str, endpoint_type: Any = None) -> None:
        return None

    async def get_all_endpoints_for_did(self, did: str) -> dict[str, str]:
        return {}

    async def update_endpoint_for_did(self, *_: Any, **__: Any) -> bool:
        return True

    def nym_to_did(self, nym: str) -> str:
        return f"did:sov:{nym}"

    async def get_wallet_public_did(self) -> Any:
        async with self.profile.session() as session:
            return await session.inject(_wallet.BaseWallet).get_public_did()

    async def get_txn_author_agreement(self, reload: bool = False) -> dict[str, Any]:
        return {"aml_record": {}, "taa_record": {}, "taa_required": False}

    async def get_latest_txn_author_acceptance(self) -> dict[str, Any]:
        return {}

    async def txn_submit(self, request: str, *_: Any, **__: Any) -> str:
        made = json.loads(request)
        content = _read()
        number = 10 + len(content["schema"]) + len(content["cred_def"])
        if made["kind"] == "schema":
            made["value"]["seqNo"] = number
        _write(made["kind"], made["value"]["id"], made["value"])
        return json.dumps({"result": {"txnMetadata": {"seqNo": number}}})

    async def _create_schema_request(self, info: Any, schema: str, **_: Any) -> str:
        return json.dumps({"kind": "schema", "value": json.loads(schema)})

    async def _create_credential_definition_request(self, info: Any, definition: str, **_: Any) -> str:
        return json.dumps({"kind": "cred_def", "value": json.loads(definition)})

    async def get_schema(self, name: str) -> Any:
        schemas = _read()["schema"]
        return schemas.get(name) or next((one for one in schemas.values() if str(one["seqNo"]) == str(name)), None)

    fetch_schema_by_id = get_schema
    fetch_schema_by_seq_no = get_schema

    async def get_credential_definition(self, name: str) -> Any:
        return _read()["cred_def"].get(name)

    fetch_credential_definition = get_credential_definition

    async def credential_definition_id2schema_id(self, name: str) -> Any:
        definition = await self.get_credential_definition(name)
        return (await self.get_schema(definition["schemaId"]))["id"]

    async def get_revoc_reg_def(self, name: str) -> Any:
        return _read()["rev_reg"].get(name)

    async def send_revoc_reg_def(self, definition: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        _write("rev_reg", definition["id"], {**definition, "txnTime": int(time.time())})
        return {"result": {}}

    async def send_revoc_reg_entry(
        self, name: str, kind: str, entry: dict[str, Any], *_: Any, **__: Any
    ) -> dict[str, Any]:
        """Of each the file keeps all that is revoked until then, not what is new."""
        entries = _read()["rev_entry"].get(name, [])
        before: dict[str, Any] = entries[-1] if entries else {"time": 0, "revoked": []}
        revoked = sorted({*before["revoked"], *entry["value"].get("revoked", [])})
        at = max(int(time.time()), before["time"] + 1)
        _write("rev_entry", name, [*entries, {"time": at, "accum": entry["value"]["accum"], "revoked": revoked}])
        return {"result": {}}

    async def get_revoc_reg_entry(self, name: str, timestamp: int) -> tuple[dict[str, Any], int]:
        found = [one for one in _read()["rev_entry"][name] if one["time"] <= timestamp][-1]
        return {"ver": "1.0", "value": {"accum": found["accum"]}}, found["time"]

    async def get_revoc_reg_delta(
        self, name: str, start: int = 0, end: int | None = None
    ) -> tuple[dict[str, Any], int]:
        found = [one for one in _read()["rev_entry"][name] if end is None or one["time"] <= end][-1]
        value = {"accum": found["accum"], "issued": [], "revoked": found["revoked"]}
        return {"ver": "1.0", "value": value}, found["time"]


class TailsServer(_tails.BaseTailsServer):  # type: ignore[misc]
    """Puts tails files into the folder `tails` beside the ledger, from which somebody serves them."""

    async def upload_tails_file(
        self, context: Any, filename: str, tails_file_path: str, *_: Any, **__: Any
    ) -> tuple[bool, str]:
        folder = Path(os.environ["LEDGER_FILE"]).parent / "tails"
        folder.mkdir(exist_ok=True)
        shutil.copy(tails_file_path, folder / filename)
        return True, f"{context.settings['tails_server_base_url'].rstrip('/')}/{filename}"


async def _refuse(self: Any, *_: Any, **__: Any) -> Any:
    raise NotImplementedError("the file in place of a ledger cannot do this")


for _name in _base.BaseLedger.__abstractmethods__:
    if _name not in FileLedger.__dict__:
        setattr(FileLedger, _name, _refuse)
FileLedger.__abstractmethods__ = frozenset()
_LEDGER = FileLedger()
_bind = _profile.AskarProfile.bind_providers


def _bind_providers(self: Any) -> None:
    """Without a ledger the agent has nobody to verify by, either."""
    _bind(self)
    _LEDGER.profile = _LEDGER.profile or self
    self._context.injector.bind_instance(_base.BaseLedger, _LEDGER)
    self._context.injector.bind_instance(_tails.BaseTailsServer, TailsServer())
    verifier: Any = importlib.import_module("acapy_agent.indy.verifier")
    credx: Any = importlib.import_module("acapy_agent.indy.credx.verifier")
    self._context.injector.bind_instance(verifier.IndyVerifier, credx.IndyCredxVerifier(self))


_profile.AskarProfile.bind_providers = _bind_providers


async def setup(context: Any) -> None:
    context.injector.bind_instance(_base.BaseLedger, _LEDGER)
