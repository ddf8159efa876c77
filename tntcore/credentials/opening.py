"""Opens the formats when credentials are first needed: JSON-LD, JSON Schema and JSON Web Tokens are slow to load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tntcore.credentials.anoncreds.setup import AnonCredsParts
from tntcore.credentials.registry import Formats
from tntcore.services import Services
from tntcore.storage.repository import Repository

if TYPE_CHECKING:
    from tntcore.credentials.proof_suites import Contexts


def open_formats(services: Services, contexts: Contexts, anoncreds: AnonCredsParts, records: Repository) -> Formats:
    """Returns the formats for the tenant with these records. See `catalogue.all_formats`."""
    from tntcore.credentials.catalogue import all_formats

    return all_formats(services, contexts, anoncreds, records)
