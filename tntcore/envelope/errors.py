"""The one error of unpacking that asks for more input."""

from __future__ import annotations

from tntcore.errors import EnvelopeError


class NeedsDocument(EnvelopeError):
    """The DID document of `did` is needed: resolve it, add it to `documents` and call again. Its code is
    `needs-document`."""

    def __init__(self, did: str) -> None:
        super().__init__("needs-document", f"the document of {did} is needed")
        self.did = did
