"""did:webvh 1.0 (DIF, "The did:webvh DID Method"): a document beside its signed history, at a did:web's place. Pure.

The `did_webvh` library verifies a history, in a worker process. It bounds nothing, so the history is measured before it
sees it: a stranger who names a DID chooses what is read here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from tntcore.dids import web
from tntcore.dids.document import DidDocument
from tntcore.dids.parse import parse_document
from tntcore.errors import UNRESOLVABLE, DidError
from tntcore.strict_json import JsonError, read_json

MAX_ENTRIES: Final = 128
MAX_KEYS: Final = 256
"""Keys, and hashes of keys, in the parameters of all entries together; `_MAX_LIST` of them in one list."""
_MAX_LIST: Final = 16
MAX_WORK: Final = 1024 * 1024
"""Bytes that are read for all proofs: each proof is over its whole entry."""


HistoryEnd = tuple[dict[str, Any] | None, tuple[str, str]]
"""The document, or None with the code and detail of the error: an exception would not leave its process whole."""


class RunAside(Protocol):
    async def __call__(self, function: Callable[..., HistoryEnd], /, *args: object) -> HistoryEnd:
        """Runs a function elsewhere, in a bounded place and time. See `workers.Workers.run`."""


class WebVh:
    """did:webvh.

    Args:
        fetch: the body at a URL; it bounds size and time.
        run: verifies a history, which may take seconds.
        allow_http: see `web.document_url`.
    """

    def __init__(self, fetch: Callable[[str], Awaitable[bytes]], run: RunAside, *, allow_http: bool = False) -> None:
        self._fetch = fetch
        self._run = run
        self._allow_http = allow_http

    def reads(self, did: str) -> bool:
        return did.startswith("did:webvh:")

    async def resolve(self, did: str) -> DidDocument:
        place = did.removeprefix("did:webvh:").partition(":")[2]
        url = web.document_url(f"did:web:{place}", allow_http=self._allow_http).removesuffix("did.json")
        log = await self._read(f"{url}did.jsonl")
        witnesses = await self._read(f"{url}did-witness.json") if _check(log) else "[]"
        if len(witnesses) > MAX_WORK // 8:
            raise DidError("document-too-large", "the proofs of the DID's witnesses are too large")
        document, error = await self._run(_verify, did, log, witnesses)
        if document is None:
            raise DidError(*error)
        return parse_document(document, did)

    async def _read(self, url: str) -> str:
        try:
            return (await self._fetch(url)).decode()
        except UnicodeDecodeError:
            raise DidError("malformed-document", f"{url} is no text in UTF-8") from None
        except Exception as error:
            raise DidError(UNRESOLVABLE, f"fetching {url} failed: {type(error).__name__}") from error


def _lines(text: str) -> list[str]:
    """Returns the lines of JSON. A string in it may contain any other character that Unicode takes for a line's end."""
    return [line for line in text.split("\n") if line.strip()]


def _check(log: str) -> bool:
    """Checks what verifying a history would cost, and returns whether it names witnesses. Raises `DidError`."""
    entries = _lines(log)
    if not entries:
        # The library would wait for one for ever.
        raise DidError("malformed-document", "the history of the DID is empty")
    if len(entries) > MAX_ENTRIES:
        raise DidError("document-too-large", f"the history of a DID may have {MAX_ENTRIES} entries")
    work = keys = 0
    witnessed = False
    for line in entries:
        try:
            entry = read_json(line.encode())
        except JsonError as error:
            raise DidError("malformed-document", f"the history of the DID: {error}") from None
        parameters = entry.get("parameters") if isinstance(entry, dict) else None
        proof = entry.get("proof") if isinstance(entry, dict) else None
        if not isinstance(parameters, dict):
            raise DidError("malformed-document", "the history of the DID has an entry without parameters")
        lists = [len(value) for value in parameters.values() if isinstance(value, list)]
        keys += sum(lists)
        work += len(line) * (1 + (len(proof) if isinstance(proof, list) else 0))
        if work > MAX_WORK or keys > MAX_KEYS or max(lists, default=0) > _MAX_LIST:
            raise DidError("document-too-large", "the history of the DID has too many keys or proofs")
        witness = parameters.get("witness")
        # A threshold of 0 asks for none.
        witnessed = witnessed or (isinstance(witness, dict) and bool(witness.get("threshold")))
    return witnessed


def _verify(did: str, log: str, witnesses: str) -> HistoryEnd:
    """Returns the document at the end of a history."""
    # Slow to load.
    from did_webvh.core.resolver import DidResolver
    from did_webvh.verify import WebvhVerifier

    source: Any = _Source(log, witnesses)
    try:
        result = asyncio.run(DidResolver(WebvhVerifier(enforce_future_skew=True)).resolve(did, source)).serialize()
    except Exception as error:  # noqa: BLE001 - hostile input surfaces as nearly anything in the library
        return None, ("malformed-document", f"the history of the DID is wrong: {type(error).__name__}")
    document, metadata = result["didDocument"], result["didDocumentMetadata"]
    if document is None:
        return None, ("malformed-document", f"the history of the DID is wrong: {_reason(result)}")
    if metadata["deactivated"]:
        return None, ("deactivated", "the DID was deactivated by its owner")
    return document, ("", "")


def _reason(result: dict[str, Any]) -> str:
    problem = result["didResolutionMetadata"].get("problemDetails") or {}
    return str(problem.get("detail") or problem.get("title") or "no reason was given")[:200]


class _Source:
    """A history as the library reads it (`HistoryResolver`)."""

    def __init__(self, log: str, witnesses: str) -> None:
        self._log, self._witnesses = log, witnesses

    @asynccontextmanager
    async def resolve_entry_log(self, did: str) -> AsyncIterator[Any]:
        yield _Text(self._log)

    @asynccontextmanager
    async def resolve_witness_log(self, did: str) -> AsyncIterator[Any]:
        yield _Text(self._witnesses)


class _Text:
    def __init__(self, text: str) -> None:
        self._text = text
        self._left = iter(_lines(text))

    def __aiter__(self) -> _Text:
        return self

    async def __anext__(self) -> str:
        for line in self._left:
            return line
        raise StopAsyncIteration

    async def text(self) -> str:
        return self._text
