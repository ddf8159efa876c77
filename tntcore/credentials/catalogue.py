"""The formats that are run here, in the order in which they are preferred."""

from __future__ import annotations

from tntcore.credentials.formats import CredentialFormat, ProofFormat
from tntcore.credentials.jwt_vc import JwtVc
from tntcore.credentials.plain import PlainCredential, PlainProof
from tntcore.credentials.registry import Formats, Registry
from tntcore.services import Services


def open_formats(services: Services) -> Formats:
    workers, resolve, fetch = services.workers, services.resolver.resolve, services.egress.fetch
    jwt_vc = JwtVc(workers, resolve, fetch, services.now)
    return Formats(
        credentials=Registry[CredentialFormat]([jwt_vc, PlainCredential()]),
        proofs=Registry[ProofFormat]([PlainProof()]),
        presented={},
    )
