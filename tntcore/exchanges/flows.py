"""The two kinds of exchange: issuing and proving."""

from __future__ import annotations

from typing import Any, Final

from tntcore.exchanges import issuance, proving
from tntcore.exchanges.run import Flow
from tntcore.messaging.message import Message
from tntcore.messaging.problems import ack_status, is_ack, is_problem_report, read_problem_report
from tntcore.protocols import issue_credential, present_proof
from tntcore.protocols.interface import name_of
from tntcore.storage.records import Exchange

ISSUING: Final = Flow(
    "issue-credential", issue_credential, issuance, lambda formats: formats.credentials, "issuance-abandoned"
)
PROVING: Final = Flow("present-proof", present_proof, proving, lambda formats: formats.proofs, "abandoned")
FLOWS: Final = {flow.name: flow for flow in (ISSUING, PROVING)}


def flow_of(exchange: Exchange) -> Flow:
    """Returns the kind of the exchange."""
    return FLOWS[name_of(exchange.protocol)]


def read(message: Message) -> tuple[Flow | None, Any, str] | None:
    """Returns the protocol of a message, its step and its kind; None if it belongs to no exchange. Acknowledgements and
    problem reports may be generic.
    """
    flow, step = None, None
    for one in FLOWS.values():
        step = one.protocol.read_step(message)
        if step is not None:
            flow = one
            break
    kind = step.kind if step is not None else ""
    if kind == "ack" or (step is None and is_ack(message.type)):
        # RFC 0015: the other side is not done yet, or has failed, of which a problem report says more.
        if ack_status(message) == "PENDING":
            return None
        kind = "problem-report" if ack_status(message) == "FAIL" else "ack"
    elif step is None and is_problem_report(message.type):
        kind = "problem-report"
        report = read_problem_report(message)
        # DIDComm v2.1, "Problem Reports": a warning, after which the protocol may go on.
        if message.version == "v2" and report is not None and report.code.startswith("w."):
            return None
    return (flow, step, kind) if kind else None
