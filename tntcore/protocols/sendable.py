"""Checks the type of a message that a tenant writes: a mistake in it would make a general message of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tntcore.errors import Problem
from tntcore.messaging.compose import is_v2_shaped
from tntcore.messaging.types import DID_SOV, DIDCOMM_ORG, parse
from tntcore.nearest import MAX_SHOWN, hint
from tntcore.protocols.registry import PROTOCOLS

_EXAMPLE: Final = f"{DIDCOMM_ORG}basicmessage/1.0/message"
_BY_NAME: Final = {uri.split("/")[-2]: f"{uri}/..." for uri in PROTOCOLS} | {"basicmessage": _EXAMPLE}
_NEAR: Final = 0.85
_ALSO_MESSAGES: Final = ("issue-credential",)  # a message has the name of its protocol


def check_type(message: Mapping[str, Any]) -> None:
    """Checks the type of a message, of either shape. Passes over a type that is no text: `prefill_v1` refuses it.

    Older clients send types of one word, such as `request-credential`. Other URIs are the tenant's business, but one
    under the prefixes of the RFCs has a protocol, a version and a name (Aries RFC 0003, section "Message Type URIs").

    Raises:
        Problem: 400 `message-invalid`: the type is a piece of a URI, has white space around it, or is nearly the name
            of a protocol.
    """
    name = "type" if is_v2_shaped(message) else "@type"
    given = message.get(name)
    if not isinstance(given, str) or not given or _is_sendable(given):
        return
    near = hint(given.strip().removeprefix(DIDCOMM_ORG).removeprefix(DID_SOV).partition("/")[0], _BY_NAME, _NEAR)
    raise Problem(
        400,
        "message-invalid",
        f"{name} is {given[:MAX_SHOWN]!r}, which is no message type{near}. Write the whole URI, such as {_EXAMPLE}.",
    )


def _is_sendable(given: str) -> bool:
    if given != given.strip():
        return False
    if ":" in given:
        return not given.startswith((DIDCOMM_ORG, DID_SOV)) or parse(given) is not None
    return given in _ALSO_MESSAGES or ("/" not in given and not hint(given, _BY_NAME, _NEAR))
