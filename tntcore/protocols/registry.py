"""Assigns messages to protocols. A type that no protocol has is a general message, handled like any other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tntcore.messaging.message import Message
from tntcore.protocols import (
    discover_features,
    issue_credential,
    present_proof,
    report_problem,
    revocation_notification,
    trust_ping,
)
from tntcore.protocols.did_exchange import SUPPORTED
from tntcore.protocols.transition import DecisionContext, Transition

_PROTOCOLS: Sequence[Callable[[Message, DecisionContext], Transition | None]] = (
    report_problem.decide,
    trust_ping.decide,
    discover_features.decide,
)
_NOTHING = Transition()

PROTOCOLS: Final[Mapping[str, Sequence[str]]] = {
    **dict.fromkeys(SUPPORTED, ("requester", "responder")),
    "https://didcomm.org/out-of-band/1.1": ("sender", "receiver"),
    "https://didcomm.org/out-of-band/2.0": ("sender", "receiver"),
    "https://didcomm.org/empty/1.0": ("sender", "receiver"),
    "https://didcomm.org/basicmessage/1.0": ("sender", "receiver"),
    "https://didcomm.org/basicmessage/2.0": ("sender", "receiver"),
    "https://didcomm.org/notification/1.0": (),
    "https://didcomm.org/did-rotate/1.0": ("rotating_party", "observing_party"),
    **trust_ping.PROTOCOLS,
    **discover_features.PROTOCOLS,
    **report_problem.PROTOCOLS,
    **issue_credential.PROTOCOLS,
    **present_proof.PROTOCOLS,
    **revocation_notification.PROTOCOLS,
}
"""The protocols disclosed on request, with our roles."""


def decide(message: Message, context: DecisionContext) -> Transition:
    """Returns the transition that the message's protocol decides; an empty one for a general message."""
    for protocol in _PROTOCOLS:
        transition = protocol(message, context)
        if transition is not None:
            return transition
    return _NOTHING
