"""JSON-LD contexts besides the bundled ones: a tenant's own, and the operator's for all tenants."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tntcore.config import ConfigError
from tntcore.credentials.names import UnsafeContext, check_published
from tntcore.errors import Problem
from tntcore.storage.commit import Exists, Unit
from tntcore.storage.records import Context
from tntcore.storage.repository import Repository
from tntcore.strict_json import JsonError, is_deep, read_json, reread_json, write_json

MAX_CONTEXTS: Final = 50  # of a tenant
MAX_BYTES: Final = 128 * 1024
MAX_DEPTH: Final = 32


def read_folder(folder: Path | None) -> dict[str, Any]:
    """Returns the operator's context documents by URL: those listed in the folder's `index.json`, `{url: file}`.

    Raises:
        ConfigError: the folder cannot be read, or its content is wrong.
    """
    if folder is None:
        return {}
    found: dict[str, Any] = {}
    try:
        index = read_json((folder / "index.json").read_bytes())
        if not isinstance(index, dict) or not all(isinstance(name, str) for name in index.values()):
            raise ConfigError(f"TNT_CONTEXTS: index.json in {folder} must be an object, {{url: file name}}")
        for url, name in index.items():
            document = read_json((folder / name).read_bytes())
            if not isinstance(document, dict) or "@context" not in document:
                raise ConfigError(f"TNT_CONTEXTS: {name} in {folder} must be an object with @context")
            if _is_bundled(url):
                raise ConfigError(f"TNT_CONTEXTS: {url} comes with the service and cannot be another")
            found[url] = document
    except OSError as error:
        raise ConfigError(f"TNT_CONTEXTS: {error}") from None
    except JsonError as error:
        raise ConfigError(f"TNT_CONTEXTS: a file in {folder} is {error}") from None
    return found


async def find_context(records: Repository, url: str) -> Mapping[str, Any] | None:
    """Returns the document that the tenant gave for a URL."""
    record = await records.get(Context, Context.uuid_of(url))
    return None if record is None else await open_context(records, record)


async def open_context(records: Repository, record: Context) -> dict[str, Any]:
    sealed = record.body or await records.stored_body(record.uuid)
    document: dict[str, Any] = reread_json(records.open(sealed, f"{record.key}/body"))
    return document


async def give_context(records: Repository, url: str, document: Any, now: int, others: Mapping[str, Any]) -> Context:
    """Stores a context document for a URL.

    Args:
        now: milliseconds since 1970, of the call's first attempt, by which the call knows what it created.
        others: the operator's, by URL.

    Raises:
        Problem: 400 `context-invalid`, 409 `context-exists` or `context-limit`.
    """
    if _is_bundled(url) or url in others:
        raise Problem(
            409, "context-exists", "The service already includes this context. You can use it without adding it."
        )
    data = write_json(document)
    if len(data) > MAX_BYTES or is_deep(data, MAX_DEPTH):
        text = f"The context document is too large. It may have at most {MAX_BYTES} bytes and {MAX_DEPTH} levels."
        raise Problem(400, "context-invalid", text)
    try:
        check_published(document)
    except UnsafeContext as error:
        detail = str(error)
        raise Problem(400, "context-invalid", f"{detail[:1].upper()}{detail[1:]}.") from None
    before = await records.get(Context, Context.uuid_of(url))
    if before is not None:
        return await _own(records, before, data, now)
    if await records.count(Context) >= MAX_CONTEXTS:
        raise Problem(409, "context-limit", f"There are already {MAX_CONTEXTS} contexts. Delete one first.")
    record = Context(uuid=Context.uuid_of(url), url=url, created_at=now, updated_at=now)
    record.body = await records.put_body(record.uuid, records.seal(data, f"{record.key}/body"))
    unit = Unit()
    unit.create(record)
    try:
        await records.commit(unit)
    except Exists:
        stored = await records.get(Context, record.uuid)
        if stored is None:
            raise
        return await _own(records, stored, data, now)
    return record


async def _own(records: Repository, stored: Context, data: bytes, now: int) -> Context:
    """Returns a context that is there already if this call created it. Raises `Problem` 409 otherwise."""
    if stored.created_at == now and write_json(await open_context(records, stored)) == data:
        return stored
    text = "A context for this URL exists, and a change would alter the meaning of credentials. Delete it first."
    raise Problem(409, "context-exists", text)


def _is_bundled(url: str) -> bool:
    # Slow to load.
    from tntcore.credentials.proof_suites import is_bundled

    return is_bundled(url)
