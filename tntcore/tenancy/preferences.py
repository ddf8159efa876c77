"""The setting `PRINCIPAL_SETTINGS`: its members and their checks. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tntcore.egress import EgressError
from tntcore.errors import Problem
from tntcore.nearest import by_lower_case, hint

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
KNOWN: Final = (*AUTOMATIC, RETENTION_DAYS, EXTERNAL_SIGNING_URL)
_OLDER: Final = "externalSignerUrl"
_BY_NAME: Final = by_lower_case(KNOWN)
_NEAR: Final = 0.8
_MAX_URL: Final = 2_048
MAX_DAYS: Final = 36_500


def read_preferences(value: Any, check_url: Callable[[str], None]) -> dict[str, Any]:
    """Checks what a tenant saves under `PRINCIPAL_SETTINGS`.

    Args:
        value: an object. These members are known, and each may be left out:

            - `autoAcceptConnections`: requests for a connection are accepted without asking;
            - `autoOffer` (a proposal is answered by an offer), `autoRequest` (an offer by a request), `autoIssue` (a
              request by the credential), `autoStore` (a credential is kept, and acknowledged), `autoPresent` (a request
              for proof is answered by what is held), `autoVerify` (a presentation is verified, and acknowledged),
              `notifyRevocation` (the holder of a revoked credential is told), `offerRevocable` (an `ld-proof` offer
              that does not mention a status can be revoked): true or false;
            - `retentionDays`: messages older than that are erased, see `maintenance.retention`; 1 to 36,500;
            - `externalSigningUrl`: what signs for identities whose keys are not here, see `signing`.

            `null` is as left out. `externalSignerUrl` is an older spelling of `externalSigningUrl`. All others are the
            tenant's own; but a name that is nearly a known one, or has `retention` in it, is refused, since it is most
            likely meant to be a known one.
        check_url: raises `EgressError` for a URL that egress never calls.

    Raises:
        Problem: 400 `setting-invalid`; `detail` names the member.
    """
    if not isinstance(value, dict):
        raise _invalid("The setting must be an object such as {autoAcceptConnections: false}.")
    saved: dict[str, Any] = {name: one for name, one in value.items() if one is not None or name not in KNOWN}
    if (older := saved.pop(_OLDER, None)) is not None:
        saved.setdefault(EXTERNAL_SIGNING_URL, older)
    for name in saved.keys() - set(KNOWN):
        about_retention = "retention" in name.casefold()
        if near := hint(name, by_lower_case([RETENTION_DAYS]), 0.0) if about_retention else hint(name, _BY_NAME, _NEAR):
            raise _invalid(f"There is no member {name[:100]!r}{near}. Give a member of your own another name.")
    for name in AUTOMATIC:
        if name in saved and not isinstance(saved[name], bool):
            raise _invalid(f"{name} must be true or false; leave it out for the default.")
    days = saved.get(RETENTION_DAYS, 1)
    if type(days) is not int or not 1 <= days <= MAX_DAYS:
        raise _invalid(f"{RETENTION_DAYS} must be a whole number from 1 to {MAX_DAYS}; leave it out to keep all.")
    if EXTERNAL_SIGNING_URL in saved:
        url = saved[EXTERNAL_SIGNING_URL]
        if not isinstance(url, str) or len(url) > _MAX_URL or not (url.isascii() and url.isprintable()):
            raise _invalid(
                f"{EXTERNAL_SIGNING_URL} must be a URL of at most {_MAX_URL} ASCII characters; leave it out for none."
            )
        try:
            check_url(url)
        except EgressError as error:
            raise _invalid(f"{EXTERNAL_SIGNING_URL} cannot be called: {error.detail}.") from None
    return saved


def _invalid(detail: str) -> Problem:
    return Problem(400, "setting-invalid", detail)
