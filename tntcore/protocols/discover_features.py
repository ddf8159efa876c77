"""Discover features (Aries RFC 0031, 1.0; RFC 0557, 2.0, read as of 2022-02; DIDComm Messaging v2.1, "Discover Features
Protocol 2.0"). Discloses the protocols in the registry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tntcore.messaging.message import Message
from tntcore.messaging.types import canonical
from tntcore.protocols.transition import DecisionContext, Transition, reply

PROTOCOLS = {
    "https://didcomm.org/discover-features/1.0": ("requester", "responder"),
    "https://didcomm.org/discover-features/2.0": ("requester", "responder"),
}
_QUERY_1 = "https://didcomm.org/discover-features/1.0/query"
_DISCLOSE_1 = "https://didcomm.org/discover-features/1.0/disclose"
_QUERIES_2 = "https://didcomm.org/discover-features/2.0/queries"
_DISCLOSE_V1 = "https://didcomm.org/discover-features/2.0/disclosures"
_DISCLOSE_V2 = "https://didcomm.org/discover-features/2.0/disclose"
_MAX_QUERIES = 20


def decide(message: Message, context: DecisionContext) -> Transition | None:
    type_ = canonical(message.type)
    if type_ == _QUERY_1:
        matching = _matching(message.body.get("query"), context.protocols)
        protocols = [{"pid": uri, "roles": list(roles)} for uri, roles in matching]
        return Transition(replies=[reply(message, _DISCLOSE_1, context, protocols=protocols)])
    if type_ == _QUERIES_2:
        answer = _DISCLOSE_V2 if message.version == "v2" else _DISCLOSE_V1
        disclosures = list(_disclosures(message.body.get("queries"), context.protocols))
        return Transition(replies=[reply(message, answer, context, disclosures=disclosures)])
    return None


def _disclosures(queries: Any, protocols: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Any]]:
    seen = set()
    for query in queries[:_MAX_QUERIES] if isinstance(queries, list) else ():
        if not isinstance(query, dict) or query.get("feature-type") != "protocol":
            continue
        for uri, roles in _matching(query.get("match"), protocols):
            if uri not in seen:
                seen.add(uri)
                yield {"feature-type": "protocol", "id": uri, "roles": list(roles)}


def _matching(query: Any, protocols: Mapping[str, Sequence[str]]) -> list[tuple[str, Sequence[str]]]:
    """Returns the protocols that a query names; an asterisk at its end matches anything (RFC 0031, "query Message
    Type").
    """
    if not isinstance(query, str):
        return []
    query = canonical(query)
    prefix = query.removesuffix("*")
    return [
        (uri, roles) for uri, roles in protocols.items() if uri == query or (query != prefix and uri.startswith(prefix))
    ]
