"""Names of the API's operations, after which generated clients name their methods."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import get_origin, get_type_hints, is_typeddict

from tntcore.api.http import Route

_VERBS = {"POST": "create", "PUT": "update", "DELETE": "delete"}
_OPERATIONS: Mapping[str, str] = {
    "POST didcomm": "deliverEnvelope",
    "GET ": "listEntryPoints",
    "GET docs": "openDocs",
    "GET docs/{file}": "loadDocsFile",
    "GET console": "openConsole",
    "GET console/{file}": "loadConsoleFile",
    "GET openapi.json": "getOpenApi",
    "GET openapi-3.0.json": "getOpenApi30",
    "GET account": "getAccount",
    "GET audit": "listAuditRecords",
    "GET operator/audit": "listOperatorAuditRecords",
    "GET principal/{uuid}/audit": "listPrincipalAuditRecords",
    "GET asset": "listAssets",
    "POST action/DIDCOMM": "createDidcommAction",
    "GET credential/{uuid}/verify": "reverifyCredential",
    "GET presentation/{uuid}/verify": "reverifyPresentation",
    "GET i": "showInvitationOfLink",
    "GET i/{code}": "showInvitation",
    "GET i/page/{file}": "loadInvitationPageFile",
    "GET health": "getHealth",
    "GET operator/me": "getOwnOperator",
    "POST operator/first": "createFirstOperator",
    "POST principal/rewrap": "rewrapPrincipals",
    "POST action/{uuid}": "sendOnAction",
    "POST delivery/replay": "replayDeliveries",
    "GET delivery/replay/{uuid}": "getReplay",
    "GET settings/{key}": "getSetting",
    "POST settings/{key}": "saveSetting",
    "PUT settings/{key}": "replaceSetting",
    "DELETE settings/{key}": "deleteSetting",
    "GET settings/{key}/{entry}": "getWebhook",
    "PUT settings/{key}/{entry}": "replaceWebhook",
    "DELETE settings/{key}/{entry}": "deleteWebhook",
    "POST settings/{key}/{entry}/rotate-secret": "rotateWebhookSecret",
    "POST settings/{key}/{entry}/enable": "enableWebhook",
    "POST settings/{key}/{entry}/test": "testWebhook",
    "GET backlog": "getBacklog",
    "GET poison": "listPoison",
    "GET poison/{queue}/{message}": "getPoison",
    "DELETE poison/{queue}/{message}": "discardPoison",
    "POST poison/replay": "replayPoison",
    "POST connection/{uuid}/hangup": "hangUpConnection",
}
"""Operations whose name does not follow from their path."""


def operation_id(route: Route) -> str:
    """Returns the operation id of a route, a verb and what it is done to: `rotateConnection` for
    `POST connection/{uuid}/rotate`, `listDeliveries` for `GET delivery`."""
    if f"{route.method} {route.path}" in _OPERATIONS:
        return _OPERATIONS[f"{route.method} {route.path}"]
    parts = route.path.split("/")
    nouns = [part for part in parts if not part.startswith("{")]
    if route.method == "POST" and len(nouns) > 1:
        return _camel(nouns.pop(), *nouns)
    if route.method != "GET":
        return _camel(_VERBS[route.method], *nouns)
    if parts[-1].startswith("{") or "." in parts[-1] or not _is_list(route):
        return _camel("get", *nouns)
    *owners, last = nouns
    return _camel("list", *owners, _plural(last))


def webhook_id(name: str) -> str:
    """Returns the operation id of a call that the service makes: `receiveTaskWebhookContact` for
    `TASK_WEBHOOK contact`."""
    words = re.findall("[A-Za-z0-9]+", name.replace("_", " "))
    return "receive" + "".join(word.capitalize() if word.isupper() else word[0].upper() + word[1:] for word in words)


def _is_list(route: Route) -> bool:
    answered = route.answers.get(200)
    shown = get_origin(answered) or answered
    return is_typeddict(shown) and "hits" in get_type_hints(shown)


def _plural(noun: str) -> str:
    return f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun.removesuffix('s')}s"


def _camel(*words: str) -> str:
    first, *others = " ".join(words).replace("-", " ").replace(".", " ").split()
    return first + "".join(other.capitalize() for other in others)
