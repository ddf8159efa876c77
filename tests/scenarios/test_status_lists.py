"""A credential of a did:web identity that is revoked: its key, DID document and status list all from the service."""

from __future__ import annotations

from typing import Any

from tests.scenarios.common import assert_problem
from tests.stack import Client, Stack
from tntcore.credentials.formats import Issuing, Party
from tntcore.credentials.ld_proof import LdProof
from tntcore.credentials.linked_data import LinkedData
from tntcore.credentials.status import StatusLists
from tntcore.identities.signing import signer_for
from tntcore.storage.records import Identity
from tntcore.workers import Workers


async def test_issued_verified_and_revoked_over_http(stack: Stack, pair: tuple[Client, Client]) -> None:
    services = stack.app.services
    tenant = await pair[0].tenant()
    identity = await tenant.records.get(Identity, pair[0].identity["uuid"])
    assert identity is not None
    party = Party(identity.did, await signer_for(services, tenant, identity), tenant.records)
    workers = Workers(1)
    try:
        data = LinkedData(workers, services.resolver.resolve, services.now)
        lists = StatusLists(data, f"{stack.url}/api/identity", services.now)
        format_ = LdProof(data, services.egress.fetch, lists=lists)
        credential = {
            "@context": ["https://www.w3.org/2018/credentials/v1"],
            "type": ["VerifiableCredential"],
            "credentialSubject": {"id": "did:example:alice"},
        }
        content = {"credential": credential, "options": {"credentialStatus": {"type": "BitstringStatusListEntry"}}}
        value: dict[str, Any] = (await format_.issue(party, Issuing(), content)).value
        assert value["issuer"] == identity.did
        before = await format_.verify_credential(value)
        assert before.verified, before.checks
        await lists.revoke(party, value)
        after = await format_.verify_credential(value)
        assert [check.name for check in after.checks if not check.passed] == ["status"]
    finally:
        await workers.close()
    path = value["credentialStatus"]["statusListCredential"].removeprefix(f"{stack.url}/api/")
    answer = await stack.call("GET", path)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/vc")
    assert answer.json()["issuer"] == identity.did
    for other in (f"{path}0", path.replace(identity.uuid, "x"), f"identity/{pair[1].uuid}/status-list/1"):
        assert_problem(await stack.call("GET", other), 404, "status-list-unknown")
