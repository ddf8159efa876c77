"""Resolves DIDs: did:key and did:peer contain their documents, `methods` fetch the others. Caches the documents."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence

from tntcore.caching import SPREAD, SharedCache
from tntcore.dids import key, peer
from tntcore.dids.document import DidDocument
from tntcore.dids.methods import Method
from tntcore.dids.parse import check_did
from tntcore.errors import UNRESOLVABLE, DidError

_PATIENT = 8  # who may wait as long as it takes, at a time
_BRIEFLY = 0.5  # seconds that everyone else waits


class Resolver:
    """Resolves DIDs.

    Args:
        methods: for DIDs that do not contain their document; the first that reads a DID resolves it.
        now: a clock in seconds that never goes back.
        document_ttl, error_ttl: seconds for which a fetched document, or a failure, is cached at most.
        capacity: documents kept.
    """

    def __init__(
        self,
        methods: Sequence[Method],
        now: Callable[[], float],
        *,
        document_ttl: float = 300.0,
        error_ttl: float = 3.0,
        capacity: int = 10_000,
    ) -> None:
        self._methods = tuple(methods)
        self._document_ttl = document_ttl
        self._error_ttl = error_ttl
        self._found: SharedCache[DidDocument | DidError] = SharedCache(now, capacity, SPREAD)
        self._waiting = 0

    def fetches(self, did: str) -> bool:
        """Whether a registered method resolves such DIDs."""
        return self._method(did) is not None

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
                it published, and nobody has sent it here; `deactivated`; `unresolvable` if it could not be fetched at
                the moment; `malformed-document`, `document-mismatch`, `document-too-large`.
        """
        document = self.resolve_local(did)
        if document is not None:
            return document
        check_did(did)
        if did.startswith("did:peer:"):
            raise DidError("not-found", "this DID does not contain its document, and nobody has shown it here")
        method = self._method(did)
        if method is None:
            raise DidError("unsupported-method", f"DIDs of method {did.split(':')[1]} are not resolved here")
        found = await self._fetched(did, method)
        if isinstance(found, DidError):
            raise DidError(found.code, found.detail)
        return found

    async def _fetched(self, did: str, method: Method) -> DidDocument | DidError:
        # Whose DIDs are asked for is up to strangers: hosts that never answer must not hold up all that goes on here.
        self._waiting += 1
        try:
            async with asyncio.timeout(None if self._waiting <= _PATIENT else _BRIEFLY):
                return await self._found.get(did, lambda: self._load(did, method))
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

    def _method(self, did: str) -> Method | None:
        return next((method for method in self._methods if method.reads(did)), None)

    async def _load(self, did: str, method: Method) -> tuple[DidDocument | DidError, float]:
        try:
            document = await method.resolve(did)
        except DidError as error:
            return error, self._error_ttl
        except Exception as error:  # noqa: BLE001 - of a method that was plugged in
            return DidError(UNRESOLVABLE, f"resolving it failed: {type(error).__name__}"), self._error_ttl
        if document.id != did:
            return DidError("document-mismatch", "the document is of another DID"), self._error_ttl
        return document, self._document_ttl
