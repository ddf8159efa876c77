"""What a principal may say in its setting `PRINCIPAL_SETTINGS`. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tntcore.egress import EgressError
from tntcore.errors import Problem

AUTOMATIC: Final = (
    "autoAcceptConnections",
    "autoOffer",
    "autoRequest",
    "autoIssue",
    "autoStore",
    "autoPresent",
    "autoVerify",
    "notifyRevocation",
    "offerRevocable",
)
EXTERNAL_SIGNING_URL: Final = "externalSigningUrl"
RETENTION_DAYS: Final = "retentionDays"
_MAX_URL: Final = 2_048
_MAX_DAYS: Final = 36_500


def read_preferences(value: Any, check_url: Callable[[str], None]) -> dict[str, Any]:
    """Checks what a tenant saves under `PRINCIPAL_SETTINGS`.

    Args:
        value: an object. Of its members are known, and may each be left out:

            - `autoAcceptConnections`: requests for a connection are accepted without asking;
            - `autoOffer` (a proposal is answered by an offer), `autoRequest` (an offer by a request), `autoIssue` (a
              request by the credential), `autoStore` (a credential is kept, and acknowledged), `autoPresent` (a request
              for proof is answered by what is held), `autoVerify` (a presentation is verified, and acknowledged),
              `notifyRevocation` (whoever holds what is revoked is told), `offerRevocable` (an `ld-proof` offer that
              says nothing of it can be revoked): true or false;
            - `retentionDays`: messages older than that are erased, see `pipeline.retention`; 1 to 36,500;
            - `externalSigningUrl`: what signs for identities whose keys are not here, see `signing`.

            All others are the tenant's own.
        check_url: raises `EgressError` for a URL that egress never calls.

    Raises:
        Problem: 400 `setting-invalid`; `detail` names the member.
    """
    if not isinstance(value, dict):
        raise _invalid("The setting must be an object such as {autoAcceptConnections: false}.")
    for name in AUTOMATIC:
        if name in value and not isinstance(value[name], bool):
            raise _invalid(f"{name} must be true or false; leave it out for the default.")
    days = value.get(RETENTION_DAYS, 1)
    if type(days) is not int or not 1 <= days <= _MAX_DAYS:
        raise _invalid(f"{RETENTION_DAYS} must be a whole number from 1 to {_MAX_DAYS}; leave it out to keep all.")
    if EXTERNAL_SIGNING_URL in value:
        url = value[EXTERNAL_SIGNING_URL]
        if not isinstance(url, str) or len(url) > _MAX_URL or not (url.isascii() and url.isprintable()):
            raise _invalid(
                f"{EXTERNAL_SIGNING_URL} must be a URL of at most {_MAX_URL} ASCII characters; leave it out for none."
            )
        try:
            check_url(url)
        except EgressError as error:
            raise _invalid(f"{EXTERNAL_SIGNING_URL} cannot be called: {error.detail}.") from None
    return value


def _invalid(detail: str) -> Problem:
    return Problem(400, "setting-invalid", detail)
