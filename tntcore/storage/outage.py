"""Tells whether a call failed because storage is unavailable, and logs it without flooding the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from azure.core.exceptions import AzureError, HttpResponseError, ServiceRequestError, ServiceResponseError

from tntcore.storage.transactions import TransactionError

log = logging.getLogger(__name__)

AGAIN: Final = 10
"""Seconds after which a caller may try again."""
_QUIET = 60.0  # seconds from one warning to the next
# Statuses below 500 that mean the service is overloaded.
_BUSY = frozenset({408, 429})


def is_away(error: BaseException) -> bool:
    """Whether the storage account, or another service of the cloud, was unreachable or unavailable, so that the same
    call may succeed later. A refusal, for the content or the sender of a request, does not count.
    """
    if isinstance(error, ServiceRequestError | ServiceResponseError):
        return True
    status: int | None = None
    if isinstance(error, TransactionError):
        status = error.status
    elif isinstance(error, HttpResponseError):
        status = error.status_code
        if status is None:
            return True
    elif isinstance(error, AzureError):
        return False
    return status is not None and (status >= 500 or status in _BUSY)


class Outage:
    """Counts calls that failed because storage is unavailable.

    Args:
        now: monotonic seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failed = 0
        self._said = -_QUIET

    def saw(self, error: BaseException) -> None:
        """Logs the first failure at once, then once a minute the number of those since."""
        self._failed += 1
        now = self._now()
        if now - self._said >= _QUIET:
            log.warning("storage is away (%s): %d requests were refused", type(error).__name__, self._failed)
            self._failed, self._said = 0, now
