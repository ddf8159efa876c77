"""Report problem (Aries RFC 0035, read as of 2022-02; DIDComm Messaging v2.1, section "Problem Reports").

A report has no states, and is never answered. It says that the thread it is on, or the one that it points to with
`pthid`, has failed; `pthid` may also be the id of the message that was at fault.
"""

from __future__ import annotations

from tntcore.messaging.message import Message
from tntcore.messaging.problems import read_problem_report
from tntcore.protocols.transition import DecisionContext, Transition

PROTOCOLS = {
    "https://didcomm.org/report-problem/1.0": ("notifier", "notified"),
    "https://didcomm.org/report-problem/2.0": ("notifier", "notified"),
}


def decide(message: Message, context: DecisionContext) -> Transition | None:
    """Returns the threads that the report is about; None if the message is no report."""
    report = read_problem_report(message)
    if report is None:
        return None
    if message.version == "v2" and report.code.startswith("w."):
        # A warning: the thread goes on.
        return Transition()
    return Transition(failed_threads=[name for name in (message.thid, message.pthid) if name and name != message.id])
