"""What the tests with AnonCreds on a ledger share: both versions of the protocols in the words of ACA-Py 1.2.7, and a
tenant that issues by the same ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.interop.acapy import ISSUE_1_0, ISSUE_2_0, PROOF_1_0, PROOF_2_0, Acapy, Protocol, Record
from tests.interop.tenant import Entity, credential_of, exchange_of
from tests.stack import Client

VALUES = {"name": "Alice Smith", "age": "24"}
CHECKS = ("signature", "issuer", "schema", "encoding", "request")
ORG = "https://didcomm.org"


@dataclass(frozen=True)
class Dialect:
    """A version of both protocols, as ACA-Py's admin API speaks it."""

    number: str
    issue: Protocol
    prove: Protocol

    @property
    def is_old(self) -> bool:
        return self.number == "1.0"

    def state(self, name: str) -> str:
        return name.replace("-", "_") if self.is_old else name

    @property
    def acked(self) -> str:
        """The last state of a credential's exchange, on either side."""
        return "credential_acked" if self.is_old else "done"

    @property
    def verified(self) -> str:
        return "verified" if self.is_old else "done"

    @property
    def presented(self) -> str:
        return "presentation_acked" if self.is_old else "done"

    def preview(self, values: Mapping[str, str]) -> Record:
        attributes = [{"name": name, "value": value} for name, value in values.items()]
        return {"@type": f"{ORG}/issue-credential/{self.number}/credential-preview", "attributes": attributes}

    def offer(self, definition: str, values: Mapping[str, str]) -> Record:
        """The body of `send-offer`, by which all goes on as the agent is set up to."""
        if self.is_old:
            return {"cred_def_id": definition, "credential_preview": self.preview(values)}
        return {"filter": {"indy": {"cred_def_id": definition}}, "credential_preview": self.preview(values)}

    def proposal(self, definition: str, values: Mapping[str, str]) -> Record:
        """The body of `send-proposal`, and of `send`."""
        if self.is_old:
            return {"cred_def_id": definition, "credential_proposal": self.preview(values)}
        return self.offer(definition, values)

    def counter(self, definition: str, values: Mapping[str, str]) -> Record:
        """The body of an exchange's `send-offer` of other than was proposed."""
        if self.is_old:
            return {"counter_proposal": self.proposal(definition, values)}
        return {"filter": {"indy": {"cred_def_id": definition}}, "counter_preview": self.preview(values)}

    def request(self, asked: Record) -> Record:
        """The body of `send-request` of a proof."""
        return {"proof_request": asked} if self.is_old else {"presentation_request": {"indy": asked}}

    def presentation(self, content: Record) -> Record:
        """The body of `send-presentation`."""
        return content if self.is_old else {"indy": content}

    def proof_proposal(self, definition: str, bound: int) -> Record:
        """The body of `send-proposal` of a proof of `VALUES`: the name, and that the age is at least so much."""
        if not self.is_old:
            return {"presentation_proposal": {"indy": asked_for(definition, bound, VALUES["name"])}}
        attributes = [{"name": "name", "cred_def_id": definition, "value": VALUES["name"]}]
        return {
            "presentation_proposal": {
                "@type": f"{ORG}/present-proof/1.0/presentation-preview",
                "attributes": attributes,
                "predicates": [{"name": "age", "cred_def_id": definition, "predicate": ">=", "threshold": bound}],
            }
        }

    def ours(self, protocol: str, **body: Any) -> Record:
        """A body of `POST /credential` and the like."""
        return {"protocol": f"{ORG}/{protocol}/{self.number}", "format": "anoncreds", **body}


OLD = Dialect("1.0", ISSUE_1_0, PROOF_1_0)
NEW = Dialect("2.0", ISSUE_2_0, PROOF_2_0)


def asked_for(definition: str, bound: int = 18, name: str = "", more: Record | None = None) -> Record:
    """Asks for the name and a predicate of one credential, that of `name` where it is given, and `more` attributes."""
    restrictions = [{"cred_def_id": definition, **({"attr::name::value": name} if name else {})}]
    return {
        "name": "proof",
        "version": "1.0",
        "requested_attributes": {"who": {"name": "name", "restrictions": restrictions}, **(more or {})},
        "requested_predicates": {
            "adult": {"name": "age", "p_type": ">=", "p_value": bound, "restrictions": restrictions}
        },
    }


async def define(agent: Acapy, tag: str = "default", **more: Any) -> str:
    """The identifier of a credential definition that the agent publishes."""
    schema = await agent.call(
        "POST", "schemas", {"schema_name": f"person {tag}", "schema_version": "1.0", "attributes": list(VALUES)}
    )
    made = await agent.call("POST", "credential-definitions", {"schema_id": schema["schema_id"], "tag": tag, **more})
    return str(made["credential_definition_id"])


async def held(tenant: Client, thread: str, values: Mapping[str, str] = VALUES, *more: str) -> Entity:
    """The credential that a thread brought us, for which every check was made and passed, and `more` of them."""
    credential = await credential_of(tenant, await exchange_of(tenant, thread, "done"))
    assert (credential["status"], credential["verified"], credential["role"]) == ("HELD", True, "holder"), credential
    assert {check["name"] for check in credential["checks"]} == {*CHECKS, *more}
    assert credential["summary"]["claims"] == values
    return credential


async def taken(agent: Acapy, dialect: Dialect, thread: str, definition: str, values: Mapping[str, str]) -> str:
    """What the agent has stored of a credential that we issued; its referent there."""
    await agent.wait_exchange(dialect.issue, thread, dialect.acked)
    stored = (await agent.call("GET", "credentials", count="1000"))["results"]
    [found] = [one for one in stored if one["attrs"] == values and one["cred_def_id"] == definition]
    return str(found["referent"])


async def shown(tenant: Client, thread: str, *more: str) -> Entity:
    """What was shown to us, for which every check was made and passed, and `more` of them."""
    exchange = await exchange_of(tenant, thread, "done")
    presentation: Entity = await tenant.get(f"presentation/{exchange['presentationUuids'][0]}")
    assert (presentation["status"], presentation["verified"]) == ("VERIFIED", True), presentation
    assert {check["name"] for check in presentation["checks"]} == {*CHECKS, *more}
    return presentation
