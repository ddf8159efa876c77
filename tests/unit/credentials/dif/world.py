"""A holder, a verifier and what they say to each other by Presentation Exchange."""

import copy
import time
import uuid
from collections.abc import Mapping
from typing import Any, cast

from tests.unit.credentials.ld import CITIZENSHIP, V1, Dids, Key, vectors
from tntcore.credentials.formats import HeldCredential, Issuing, Party, Verification, Verified
from tntcore.credentials.jwt_vc import JwtVc
from tntcore.credentials.ld_proof import LdProof
from tntcore.credentials.linked_data import LinkedData
from tntcore.credentials.presentation_exchange import PresentationExchange
from tntcore.credentials.presentations import Presentations
from tntcore.credentials.proof_suites import Suite
from tntcore.egress import EgressError
from tntcore.storage.repository import Repository
from tntcore.workers import Workers

ACAPY = vectors("acapy-1.7.0-dif.json")
NOW = int(time.time()) * 1000
DOMAIN = "verifier.example"
ISSUER, HOLDER, OTHER, VERIFIER = Key(1), Key(2), Key(3), Key(4)
LD, JWT = "aries/ld-proof-vc@v1.0", "aries/jwt-vc@v1.0"


def party(key: Key) -> Party:
    return Party(key.did, key, cast(Repository, None))


class World:
    """The format under test, with all that it stands on."""

    def __init__(self, workers: Workers, dids: Dids, now: int = NOW) -> None:
        async def fetch(url: str) -> bytes:
            raise EgressError("status", "answered 404")

        self.dids = dids
        self.linked_data = LinkedData(workers, dids.resolve, lambda: now)
        self.ld_proof = LdProof(self.linked_data, fetch)
        self.jwt_vc = JwtVc(workers, dids.resolve, fetch, lambda: now)
        self.dif = PresentationExchange(
            workers,
            Presentations(dids.resolve, self.linked_data, lambda: now, lambda: str(uuid.uuid4())),
            self.linked_data,
            self.ld_proof.verify_credential,
            self.jwt_vc,
            lambda: now,
            lambda: str(uuid.uuid4()),
        )

    async def document(
        self, *, holder: str = HOLDER.did, suite: Suite = "Ed25519Signature2018", issuer: Key = ISSUER, **claims: Any
    ) -> HeldCredential:
        credential = {
            "@context": [V1, CITIZENSHIP],
            "type": ["VerifiableCredential", "PermanentResident"],
            "issuer": issuer.did,
            "issuanceDate": "2020-01-01T12:00:00Z",
            "credentialSubject": {"id": holder, "type": "PermanentResident", "familyName": "SMITH", **claims},
        }
        signed = await self.linked_data.sign(credential, issuer, suite=suite, purpose="assertionMethod", created_ms=NOW)
        return HeldCredential(str(uuid.uuid4()), LD, signed)

    async def token(self, *, holder: str = HOLDER.did, issuer: Key = ISSUER, **claims: Any) -> HeldCredential:
        credential = {
            "@context": [V1, CITIZENSHIP],
            "type": ["VerifiableCredential", "PermanentResident"],
            "credentialSubject": {"id": holder, "familyName": "SMITH", **claims},
        }
        draft = await self.jwt_vc.issue(party(issuer), Issuing(), {"credential": credential})
        return HeldCredential(str(uuid.uuid4()), JWT, draft.value)

    async def request(self, *descriptors: Any, options: Any = None, **more: Any) -> dict[str, Any]:
        definition = {"input_descriptors": list(descriptors) or [descriptor()], **more}
        content = {"presentation_definition": definition, "options": {"domain": DOMAIN} if options is None else options}
        return cast(dict[str, Any], (await self.dif.request(party(VERIFIER), None, content)).value)

    async def present(
        self, request: Any, *held: HeldCredential, chosen: Mapping[str, Any] | None = None, holder: Key = HOLDER
    ) -> Any:
        return (await self.dif.present(party(holder), request, held, chosen)).value

    async def verify(self, request: Any, presentation: Any) -> Verified:
        return await self.dif.verify(party(VERIFIER), request, presentation)

    async def sign(self, document: dict[str, Any], request: Any, key: Key = HOLDER, **more: Any) -> dict[str, Any]:
        """A presentation that the holder signed, whatever is in it."""
        document = {name: value for name, value in document.items() if name != "proof"}
        asked = {**request["options"], **more}
        return await self.linked_data.sign(
            document, key, suite="Ed25519Signature2018", purpose="authentication", created_ms=NOW, **asked
        )


def descriptor(name: str = "resident", family: str = "SMITH", **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "schema": [
            {"uri": "https://www.w3.org/2018/credentials#VerifiableCredential"},
            {"uri": "https://w3id.org/citizenship#PermanentResident"},
        ],
        "constraints": {
            "fields": [
                {
                    "path": ["$.credentialSubject.familyName", "$.vc.credentialSubject.familyName"],
                    "filter": {"const": family},
                }
            ]
        },
        **more,
    }


def failed(verified: Verified) -> set[tuple[str, str]]:
    assert not verified.verification.verified
    return {(check.name, check.subject) for check in verified.verification.checks if check.passed is not True}


def made(verification: Verification) -> set[tuple[str, str]]:
    return {(check.name, check.subject) for check in verification.checks}


CREDENTIAL = {(name, "credential 0") for name in ("signature", "issuer", "expiry", "holder-binding")}
OUTER = {(name, "") for name in ("signature", "holder-binding", "challenge", "domain", "request")}


def altered(presentation: Any) -> dict[str, Any]:
    changed: dict[str, Any] = copy.deepcopy(presentation)
    changed["verifiableCredential"][0]["credentialSubject"]["givenName"] = "MALLORY"
    return changed
