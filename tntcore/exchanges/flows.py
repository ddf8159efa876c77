"""The two kinds of exchange: issuing and proving."""

from __future__ import annotations

from typing import Final

from tntcore.exchanges import issuance, proving
from tntcore.exchanges.run import Flow
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
