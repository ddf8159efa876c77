"""Resolves did:key, did:peer and did:web, and caches the documents."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

from tntcore.caching import SharedCache
from tntcore.dids import key, peer, web
from tntcore.dids.document import DidDocument
from tntcore.dids.parse import check_did, read_document
from tntcore.errors import UNRESOLVABLE, DidError

_PATIENT = 8  # who may wait as long as it takes, at a time
_BRIEFLY = 0.5  # seconds that everyone else waits


class Resolver:
    """Resolves DIDs.

    Args:
        fetch: the body at a URL. Raises `DidError`, e.g. `not-found`; any other error becomes `unresolvable`. It bounds
            time, size and the addresses that a URL may lead to.
        now: a clock in seconds that never goes back.
        web_ttl, error_ttl: seconds for which a fetched document, or a failure, is cached.
        capacity: documents kept.
        allow_http: see `web.document_url`.
    """

    def __init__(
        self,
        fetch: Callable[[str], Awaitable[bytes]],
        now: Callable[[], float],
        *,
        web_ttl: float = 300.0,
        error_ttl: float = 3.0,
        capacity: int = 10_000,
        allow_http: bool = False,
    ) -> None:
        self._fetch = fetch
        self._web_ttl = web_ttl
        self._error_ttl = error_ttl
        self._allow_http = allow_http
        self._found: SharedCache[DidDocument | DidError] = SharedCache(now, capacity)
        self._waiting = 0

    def resolve_local(self, did: str) -> DidDocument | None:
        """Returns the document if it takes no I/O: the DID contains it, or it is cached; else None.

        The long form of a did:peer:4 also makes its short form known.

        Raises:
            DidError: see `peer.resolve` and `key.resolve`.
        """
        found = self._found.peek(did)
        if isinstance(found, DidDocument):
            return found
        if did.startswith("did:key:"):
            document = key.resolve(did)
        elif did.startswith("did:peer:"):
            try:
                document = self._peer(did)
            except DidError as error:
                if error.code == "not-found":
                    return None
                raise
        else:
            return None
        self._found.put(did, document, math.inf)
        return document

    async def resolve(self, did: str) -> DidDocument:
        """Returns the document of a DID.

        Raises:
            DidError: `malformed-did`; `unsupported-method`; `not-found`: the DID neither contains its document nor is
                it published, and nobody has sent it here; `unresolvable` if it could not be fetched at the moment;
                `malformed-document`, `document-mismatch`, `document-too-large`.
        """
        document = self.resolve_local(did)
        if document is not None:
            return document
        check_did(did)
        if did.startswith("did:peer:"):
            raise DidError("not-found", "this DID does not contain its document, and nobody has shown it here")
        if not did.startswith("did:web:"):
            raise DidError("unsupported-method", f"DIDs of method {did.split(':')[1]} are not resolved here")
        found = await self._fetched(did)
        if isinstance(found, DidError):
            raise DidError(found.code, found.detail)
        return found

    async def _fetched(self, did: str) -> DidDocument | DidError:
        # Whose DIDs are asked for is up to strangers: hosts that never answer must not hold up all that goes on here.
        self._waiting += 1
        try:
            async with asyncio.timeout(None if self._waiting <= _PATIENT else _BRIEFLY):
                return await self._found.get(did, lambda: self._load(did))
        except TimeoutError:
            return DidError(UNRESOLVABLE, "too many documents are being waited for")
        finally:
            self._waiting -= 1

    def _peer(self, did: str) -> DidDocument:
        if not did.startswith("did:peer:4"):
            return peer.resolve(did)
        document, short = peer.resolve_4_forms(did)
        self._found.put(short.id, short, math.inf)
        return document

    async def _load(self, did: str) -> tuple[DidDocument | DidError, float]:
        try:
            return read_document(
                await self._get(web.document_url(did, allow_http=self._allow_http)), did
            ), self._web_ttl
        except DidError as error:
            return error, self._error_ttl

    async def _get(self, url: str) -> bytes:
        try:
            return await self._fetch(url)
        except DidError:
            raise
        except Exception as error:
            raise DidError("unresolvable", f"fetching {url} failed: {type(error).__name__}") from error
