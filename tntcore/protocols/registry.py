"""Which protocol a message belongs to. A type that none claims is a general message, handled like any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tntcore.messaging.message import Message
from tntcore.protocols import report_problem
from tntcore.protocols.transition import Transition

_PROTOCOLS: Sequence[Callable[[Message], Transition | None]] = (report_problem.decide,)
_NOTHING = Transition()


def decide(message: Message) -> Transition:
    """What the protocol of the message makes of it; an empty transition for a general message."""
    for protocol in _PROTOCOLS:
        transition = protocol(message)
        if transition is not None:
            return transition
    return _NOTHING
