"""Errors that are part of the interface: each has a stable code and says what to change.

`Problem` is sent to an HTTP caller as `application/problem+json` (RFC 9457). `EnvelopeError` is recorded for the
tenant; its sender never sees details.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

PROBLEM_BASE = "urn:tnt:problem:"


class Problem(Exception):
    """A request that cannot be served, as the caller reads it.

    Args:
        status: HTTP status code.
        code: stable, in kebab-case; `type` of the answer is `urn:tnt:problem:<code>`.
        detail: what happened and what to do, in one or two sentences. Never contains a secret or a plaintext.
        retry_after: seconds, sent as `Retry-After` if trying again later may work.
        headers: further headers of the answer, with names in lower case.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        retry_after: int | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after = retry_after
        self.headers = headers

    @property
    def type(self) -> str:
        return PROBLEM_BASE + self.code


def sentence(text: str) -> str:
    """Returns the text with an upper-case first letter and a full stop, for a problem's detail.

    A name at the beginning, such as `requests~attach` or `p_type`, stays as it is.
    """
    first = text.partition(" ")[0]
    begun = text[:1].upper() + text[1:] if first.isalpha() else text
    return begun if begun.endswith((".", "?", "!")) else f"{begun}."


class EnvelopeError(Exception):
    """A packed message that cannot be accepted.

    Args:
        code: stable, in kebab-case, e.g. `malformed`, `unsupported`, `wrong-key`, `tampered`, `addressing`.
        detail: for the tenant's log. Never contains key material or plaintext.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


UNRESOLVABLE = "unresolvable"
"""Code of a `DidError` that a retry may resolve: the document was not available."""


class DidError(Exception):
    """A DID or a DID document that cannot be used. Same arguments as `EnvelopeError`."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class NotYet(Exception):
    """The records that a queue item needs are not there yet, or no longer. The queue delivers the item again."""

    outcome = "not-yet"
