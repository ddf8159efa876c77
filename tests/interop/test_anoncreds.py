"""AnonCreds that ACA-Py 1.2.7 issues to a tenant, and verifies, by both versions of the protocols. Only the ledger is
a stand-in, which the tenant reads through a registry that the configuration names."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.acapy import ISSUE_1_0, ISSUE_2_0, PROOF_1_0, PROOF_2_0, Acapy, Protocol
from tests.interop.tenant import accept_exchange, connect, credential_of, exchange_of
from tests.stack import Client

pytestmark = pytest.mark.interop
VALUES = {"name": "Alice Smith", "age": "24"}


@pytest.fixture(scope="module")
async def issuer(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Acapy]:
    folder: Path = tmp_path_factory.mktemp("ledger")
    os.environ["LEDGER_FILE"] = str(folder / "ledger.json")
    flags = ("--plugin", "file_ledger", "--seed", "000000000000000000000000Issuer01")
    async with Acapy("1.2.7", "issuer", folder, automatic=True, flags=flags, plugins=True) as agent:
        yield agent
    del os.environ["LEDGER_FILE"]


@pytest.fixture(scope="module")
async def definition(issuer: Acapy) -> str:
    schema = await issuer.call(
        "POST", "schemas", {"schema_name": "id", "schema_version": "1.0", "attributes": list(VALUES)}
    )
    made = await issuer.call("POST", "credential-definitions", {"schema_id": schema["schema_id"], "tag": "default"})
    return str(made["credential_definition_id"])


@pytest.mark.parametrize(("issue", "prove"), [(ISSUE_1_0, PROOF_1_0), (ISSUE_2_0, PROOF_2_0)])
async def test_issued_by_it_and_shown_to_it(
    tenant: Client, issuer: Acapy, definition: str, issue: Protocol, prove: Protocol
) -> None:
    _, theirs = await connect(tenant, issuer)
    version = "2.0" if issue is ISSUE_2_0 else "1.0"
    preview = {
        "@type": f"https://didcomm.org/issue-credential/{version}/credential-preview",
        "attributes": [{"name": name, "value": value} for name, value in VALUES.items()],
    }
    body: dict[str, Any] = {"connection_id": theirs, "credential_preview": preview}
    if issue is ISSUE_2_0:
        body["filter"] = {"indy": {"cred_def_id": definition}}
    else:
        body |= {"cred_def_id": definition, "auto_issue": True}
    offer = await issuer.begin(issue, "send-offer", **body)
    await accept_exchange(tenant, await exchange_of(tenant, offer["thread_id"], "offer-received"))
    await issuer.wait_exchange(issue, offer["thread_id"], "done" if issue is ISSUE_2_0 else "credential_acked")
    credential = await credential_of(tenant, await exchange_of(tenant, offer["thread_id"], "done"))
    assert (credential["status"], credential["verified"]) == ("HELD", True), credential
    assert credential["summary"]["claims"] == VALUES

    restrictions = [{"cred_def_id": definition}]
    asked = {
        "name": "proof",
        "version": "1.0",
        "requested_attributes": {"who": {"name": "name", "restrictions": restrictions}},
        "requested_predicates": {"adult": {"name": "age", "p_type": ">=", "p_value": 18, "restrictions": restrictions}},
    }
    content = {"presentation_request": {"indy": asked}} if prove is PROOF_2_0 else {"proof_request": asked}
    request = await issuer.begin(prove, "send-request", connection_id=theirs, **content)
    await accept_exchange(tenant, await exchange_of(tenant, request["thread_id"], "request-received"))
    done = await issuer.wait_exchange(prove, request["thread_id"], "done" if prove is PROOF_2_0 else "verified")
    assert done["verified"] == "true"
