"""The formats that are run here, in the order in which they are preferred."""

from __future__ import annotations

from tntcore.credentials.plain import PlainCredential, PlainProof
from tntcore.credentials.registry import Formats, Registry
from tntcore.services import Services


def open_formats(services: Services) -> Formats:
    return Formats(
        credentials=Registry([PlainCredential()]),
        proofs=Registry([PlainProof()]),
        presented={},
    )
