"""Resolves DIDs: did:key and did:peer contain their documents, `methods` fetch the others. Caches the documents."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tntcore.caching import SPREAD, SharedCache
from tntcore.dids import key, peer
from tntcore.dids.document import DidDocument
from tntcore.dids.methods import Method
from tntcore.dids.parse import check_did
from tntcore.errors import UNRESOLVABLE, DidError
from tntcore.fetches import Fetches
from tntcore.shares import Busy, party

_MEMORY = 64 * 1024 * 1024  # bytes of documents: 10,000 of usual size
_FAILURES = 16 * 1024 * 1024  # bytes of failures
_FAILURE = 1_000  # bytes, besides the DID


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
        # A stranger makes as many DIDs as it likes, and a long one takes a hundred times as much as a usual one.
        self._found: SharedCache[DidDocument] = SharedCache(
            now, capacity, SPREAD, weigh=lambda did, document: len(did) + document.weight(), budget=_MEMORY
        )
        # A failure may be the asking tenant's own, if it used up its share or its time. Other tenants do not share it.
        self._failed: SharedCache[DidError] = SharedCache(
            now, capacity, weigh=lambda name, _: len(name) + _FAILURE, budget=_FAILURES
        )
        # Keeps nothing: only to share fetches under way, among those of one party.
        self._fetching: SharedCache[DidDocument] = SharedCache(now, 0)
        self._fetches = Fetches()

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
        if found is not None:
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
        return await self._fetched(did, method)

    async def _fetched(self, did: str, method: Method) -> DidDocument:
        failed = self._failed.peek(f"{party().tenant}/{did}")
        if failed is not None:
            raise DidError(failed.code, failed.detail)
        name = f"{party().tenant}/{party().sender}/{did}"
        try:
            return await self._fetches.wait(self._fetching.get(name, lambda: self._load(did, method)))
        except (Busy, TimeoutError):
            raise DidError(UNRESOLVABLE, "its document came too slowly, or too many are being waited for") from None
        except DidError as error:
            # Each waiter gets one of its own.
            raise DidError(error.code, error.detail) from None

    def _peer(self, did: str) -> DidDocument:
        if not did.startswith("did:peer:4"):
            return peer.resolve(did)
        document, short = peer.resolve_4_forms(did)
        self._found.put(short.id, short, math.inf)
        return document

    def _method(self, did: str) -> Method | None:
        return next((method for method in self._methods if method.reads(did)), None)

    async def _load(self, did: str, method: Method) -> tuple[DidDocument, float]:
        async with self._fetches.fetching():
            try:
                document = await self._of_method(did, method)
            except DidError as error:
                self._failed.put(f"{party().tenant}/{did}", error, self._error_ttl)
                raise
        self._found.put(did, document, self._document_ttl)
        return document, 0

    async def _of_method(self, did: str, method: Method) -> DidDocument:
        try:
            document = await method.resolve(did)
        except DidError:
            raise
        except Exception as error:  # noqa: BLE001 - of a method that was plugged in
            raise DidError(UNRESOLVABLE, f"resolving it failed: {type(error).__name__}") from None
        if document.id != did:
            raise DidError("document-mismatch", "the document is of another DID")
        return document
