"""Trust ping (Aries RFC 0048, 1.0, read as of 2022-02; DIDComm Messaging v2.1, section "Trust Ping Protocol 2.0").

A ping is answered unless it says that no answer is wanted.
"""

from __future__ import annotations

from tntcore.messaging.message import Message
from tntcore.messaging.types import canonical
from tntcore.protocols.transition import DecisionContext, Transition, reply

PROTOCOLS = {
    "https://didcomm.org/trust_ping/1.0": ("sender", "receiver"),
    "https://didcomm.org/trust-ping/2.0": ("sender", "receiver"),
}
_ANSWERS = {
    "https://didcomm.org/trust_ping/1.0/ping": "https://didcomm.org/trust_ping/1.0/ping_response",
    "https://didcomm.org/trust-ping/2.0/ping": "https://didcomm.org/trust-ping/2.0/ping-response",
}


def decide(message: Message, context: DecisionContext) -> Transition | None:
    answer = _ANSWERS.get(canonical(message.type))
    if answer is None:
        return None
    if message.body.get("response_requested") is False:
        return Transition()
    return Transition(replies=[reply(message, answer, context)])
