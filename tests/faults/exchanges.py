"""Credentials and proofs between two tenants while faults are injected, in each version of the protocols, with contents
that pass through and with ones that are signed and checked."""

from __future__ import annotations

from typing import Any, ClassVar

from tests.faults.flows import Between, Flow
from tests.faults.sites import Client
from tests.scenarios.test_anoncreds import VALUES
from tests.scenarios.test_credentials import asking, offer

PASSED_ON = {"data": {"attachment": {"passed": "on"}}}


class Exchanged(Between):
    """Every step that waits for a tenant's word is accepted until nothing waits any more."""

    protocol: ClassVar[str] = ""
    steps: ClassVar[int] = 4  # messages
    state: ClassVar[str] = "done"
    words: ClassVar[dict[str, Any]] = {}
    """What is said to a state, where that is not `PASSED_ON`."""

    async def prepare(self) -> None:
        await super().prepare()
        automatic = {"autoRequest": True, "autoIssue": True, "autoStore": True}
        for client in self.clients:
            await client.post("settings/PRINCIPAL_SETTINGS", {"setting": automatic})

    async def accept_all(self) -> None:
        """Each word is given once, but for one whose answer was lost: that is out of turn the second time."""
        for _ in range(2 * self.steps + 2):
            await self.world.settle()
            waiting = False
            for client in self.clients:
                for exchange in (await client.get("exchange"))["hits"]:
                    if exchange["status"] == "WAITING":
                        waiting = True
                        await self.say(client, exchange)
            if not waiting:
                return
        raise TimeoutError("an exchange goes on waiting")

    async def exchanges(self, client: Client) -> list[Any]:
        hits = (await client.get("exchange"))["hits"]
        return [exchange for exchange in hits if exchange["protocol"].endswith(self.protocol)]

    async def say(self, client: Client, exchange: Any) -> None:
        word = self.words.get(exchange["state"], PASSED_ON)
        answer = await client.call("POST", f"exchange/{exchange['uuid']}/accept", word)
        assert answer.status in (200, 409), answer.body

    async def check(self) -> None:
        for client in self.clients:
            [exchange] = await self.exchanges(client)
            assert exchange["state"] == self.state
            said = (await client.get(f"action/{exchange['uuid']}"))["messages"]
            assert len(said) == self.steps
            for uuid in said:
                assert (await client.get(f"message/{uuid}"))["status"] in ("SENT", "RECEIVED")


class Issued(Exchanged):
    protocol = "issue-credential/2.0"
    offered: ClassVar[dict[str, Any]] = {"command": "offer", "format": "plain", **PASSED_ON}
    verified: ClassVar[bool] = False

    async def act(self) -> None:
        await self.acme.post("credential", {**self.offered, "to": self.contact, "protocol": self.protocol})
        await self.accept_all()

    async def check(self) -> None:
        await super().check()
        for client, status in ((self.acme, "ISSUED"), (self.bolt, "HELD")):
            [credential] = (await client.get("credential"))["hits"]
            assert credential["status"] == status
            ended = [event for event in client.tasks.events.values() if event["type"] == "credential"]
            assert len(ended) <= 1
        assert credential["verified"] == self.verified


class IssuedOld(Issued):
    protocol = "issue-credential/1.0"


class IssuedV2(Issued):
    version = "v2"
    protocol = "issue-credential/3.0"


class IssuedJwt(Issued):
    """Requested by itself, and checked."""

    offered: ClassVar = {**offer("jwt-vc", ""), "format": "jwt-vc"}
    words: ClassVar = {"offer-received": {}}
    verified = True


class GivenUpExchange(IssuedJwt):
    """No process survives what takes long, until the operator has it handled again."""

    async def act(self) -> None:
        self.world.given_up.add("exchange")
        await super().act()
        assert (await self.bolt.get("message?status=FAILED"))["hits"]
        self.world.given_up.clear()
        await self.world.replay()
        await self.accept_all()


class IssuedLinkedData(IssuedJwt):
    offered: ClassVar = offer("ld-proof/Ed25519Signature2020", "")


class Declined(Exchanged):
    """The holder wants no such credential: a problem report."""

    protocol = "issue-credential/2.0"
    steps = 2
    state = "abandoned"

    async def prepare(self) -> None:
        await super().prepare()
        await self.bolt.post("settings/PRINCIPAL_SETTINGS", {"setting": {}})

    async def act(self) -> None:
        await self.acme.post("credential", {"format": "plain", "to": self.contact, **PASSED_ON})
        await self.accept_all()

    async def say(self, client: Client, exchange: Any) -> None:
        answer = await client.call("POST", f"exchange/{exchange['uuid']}/reject", {"reason": "No, thank you."})
        assert answer.status in (200, 409), answer.body

    async def check(self) -> None:
        await super().check()
        [exchange] = (await self.acme.get("exchange"))["hits"]
        assert exchange["error"] == "issuance-abandoned: No, thank you."
        assert (await self.acme.get(f"action/{exchange['uuid']}"))["status"] == "ERROR"


class DeclinedOld(Declined):
    protocol = "issue-credential/1.0"

    async def act(self) -> None:
        wanted = {"format": "plain", "to": self.contact, "protocol": self.protocol, **PASSED_ON}
        await self.acme.post("credential", wanted)
        await self.accept_all()


class Proven(Exchanged):
    protocol = "present-proof/2.0"
    steps = 3
    wanted: ClassVar[dict[str, Any]] = {"format": "plain", **PASSED_ON}
    shown: ClassVar[tuple[str, bool]] = ("ACCEPTED", False)

    async def act(self) -> None:
        await self.acme.post("proof-request", {**self.request(), "to": self.contact, "protocol": self.protocol})
        await self.accept_all()

    def request(self) -> dict[str, Any]:
        return self.wanted

    async def check(self) -> None:
        await super().check()
        [presentation] = (await self.acme.get("presentation"))["hits"]
        assert (presentation["status"], presentation["verified"]) == self.shown


class ProvenOld(Proven):
    protocol = "present-proof/1.0"


class ProvenV2(Proven):
    version = "v2"
    protocol = "present-proof/3.0"


class ProvenJwt(Proven):
    """What was issued before is shown."""

    issued: ClassVar[type[Issued]] = IssuedJwt
    words: ClassVar = {"request-received": {}, "offer-received": {}}
    wanted: ClassVar = asking("", "jwt-vc")
    shown = ("VERIFIED", True)

    async def prepare(self) -> None:
        await super().prepare()
        await self.issue()
        await self.accept_all()

    async def issue(self) -> None:
        await self.acme.post("credential", {**self.issued.offered, "to": self.contact})


class ProvenLinkedData(ProvenJwt):
    issued = IssuedLinkedData
    wanted: ClassVar = asking("", "ld-proof/Ed25519Signature2020")


class ProvenAnonCreds(ProvenJwt):
    """And the schema and definition for it were made before."""

    async def issue(self) -> None:
        schema = await self.acme.post("schema", {"name": "id", "version": "1.0", "attributes": list(VALUES)})
        definition = await self.acme.post("credential-definition", {"schemaId": schema["uuid"]})
        self.restrictions = [{"cred_def_id": definition["credentialDefinitionId"]}]
        self.data = {"credentialDefinitionId": definition["uuid"], "attributes": VALUES}
        await self.acme.post(
            "credential", {"command": "offer", "format": "anoncreds", "data": self.data, "to": self.contact}
        )

    def request(self) -> dict[str, Any]:
        who = {"name": "name", "restrictions": self.restrictions}
        return {"format": "anoncreds", "data": {"requested_attributes": {"who": who}}}


class IssuedAnonCreds(IssuedJwt):
    async def prepare(self) -> None:
        await super().prepare()
        schema = await self.acme.post("schema", {"name": "id", "version": "1.0", "attributes": list(VALUES)})
        definition = await self.acme.post("credential-definition", {"schemaId": schema["uuid"]})
        self.data = {"credentialDefinitionId": definition["uuid"], "attributes": VALUES}

    async def act(self) -> None:
        offered = {"command": "offer", "format": "anoncreds", "data": self.data}
        await self.acme.post("credential", {**offered, "to": self.contact, "protocol": self.protocol})
        await self.accept_all()


EXCHANGES: tuple[type[Flow], ...] = (
    Issued,
    IssuedOld,
    IssuedV2,
    IssuedJwt,
    GivenUpExchange,
    Declined,
    DeclinedOld,
    Proven,
    ProvenOld,
    ProvenV2,
    ProvenJwt,
)
# Whose signatures take long to compute.
LONG: tuple[type[Flow], ...] = (IssuedLinkedData, IssuedAnonCreds, ProvenLinkedData, ProvenAnonCreds)
