"""The supported formats, in order of preference."""

from __future__ import annotations

from functools import partial

from tntcore.credentials.anoncreds.setup import AnonCredsParts
from tntcore.credentials.contexts_given import find_context
from tntcore.credentials.formats import CredentialFormat, ProofFormat
from tntcore.credentials.jwt_vc import JwtVc
from tntcore.credentials.ld_proof import LdProof
from tntcore.credentials.linked_data import LinkedData
from tntcore.credentials.plain import PlainCredential, PlainProof
from tntcore.credentials.presentation_exchange import PresentationExchange
from tntcore.credentials.presentations import Presentations
from tntcore.credentials.proof_suites import Contexts
from tntcore.credentials.registry import FormatRegistry, Formats
from tntcore.credentials.status import StatusLists
from tntcore.messaging.ids import random_uuid
from tntcore.services import Services
from tntcore.storage.repository import Repository


def all_formats(services: Services, contexts: Contexts, anoncreds: AnonCredsParts, records: Repository) -> Formats:
    """Returns the formats for the tenant with these records, as it may have contexts of its own. `contexts` are the
    operator's, by URL.
    """
    workers, resolve, fetch = services.workers, services.resolver.resolve, services.egress.fetch
    linked_data = LinkedData(workers, resolve, services.now, contexts=contexts, find=partial(find_context, records))
    # A status list may have the other kind of proof than the credential that names it.
    ld_proof = LdProof(
        linked_data,
        fetch,
        read_jwt=lambda value: jwt_vc.read_list(value),
        lists=StatusLists(linked_data, f"{services.config.public_url}/api/identity", services.now),
    )
    jwt_vc = JwtVc(workers, resolve, fetch, services.now, ld_proof.read_list)
    new_uuid = partial(random_uuid, services.random)
    dif = PresentationExchange(
        workers,
        Presentations(resolve, linked_data, services.now, new_uuid),
        linked_data,
        ld_proof.verify_credential,
        jwt_vc,
        services.now,
        new_uuid,
    )
    return Formats(
        credentials=FormatRegistry[CredentialFormat]([jwt_vc, ld_proof, anoncreds.credentials, PlainCredential()]),
        proofs=FormatRegistry[ProofFormat]([dif, anoncreds.proofs, PlainProof()]),
        presented={dif.name: (ld_proof.name, jwt_vc.name), anoncreds.proofs.name: (anoncreds.credentials.name,)},
    )
