"""AnonCreds between a tenant and ACA-Py 1.2.7, in versions 1.0 (RFC 0036, RFC 0037) and 2.0 (RFC 0453, RFC 0454, with
RFC 0592's attachments) of the protocols, each in every role. Only the ledger is a stand-in: both issue by it."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from tests.interop.acapy import Acapy, Record, until
from tests.interop.conftest import Agents, Pool
from tests.interop.file_ledger import enter_issuer
from tests.interop.indy import NEW, OLD, VALUES, Dialect, asked_for, define, held, shown, taken
from tests.interop.tenant import (
    Entity,
    accept_exchange,
    automatic,
    connect,
    exchange_of,
    reject_exchange,
)
from tests.stack import Client, Stack

pytestmark = pytest.mark.interop

both = pytest.mark.parametrize("dialect", [OLD, NEW], ids=["1.0", "2.0"])
ISSUER = "WgWxqztrNooG92RXvxSTWv"
SELF = {"nick": {"name": "nickname"}}


@dataclass
class Side:
    """A connection of the tenant with an agent.

    Attributes:
        ours, theirs: credential definitions. Each side has a credential of the other's with `VALUES`:
        referent: of the agent's. credential: uuid of the tenant's.
    """

    tenant: Client
    contact: str
    agent: Acapy
    connection: str
    ours: str
    theirs: str
    referent: str = ""
    credential: str = ""


@dataclass
class World:
    auto: Side
    manual: Side


@pytest.fixture(scope="module")
async def world(stack: Stack, acapy_pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A tenant that issues, and two agents that do: one by itself, one only as it is told."""
    folder: Path = tmp_path_factory.mktemp("ledger")
    os.environ["LEDGER_FILE"] = str(folder / "ledger.json")
    tenant = await stack.register("Acme")
    enter_issuer(tenant.identity["did"], ISSUER)
    schema = await tenant.post("schema", {"name": "person", "version": "1.0", "attributes": list(VALUES)})
    assert schema["schemaId"] == f"{ISSUER}:2:person:1.0"
    ours = (await tenant.post("credential-definition", {"schemaId": schema["uuid"]}))["credentialDefinitionId"]
    (folder / "tails").mkdir()
    tails = web.AppRunner(web.Application())
    tails.app.router.add_static("/", folder / "tails")
    await tails.setup()
    await web.TCPSite(tails, "127.0.0.1", 0).start()
    tails_url = f"http://127.0.0.1:{tails.addresses[0][1]}"
    sides = []
    for name, auto in (("auto", True), ("manual", False)):
        flags = ("--plugin", "file_ledger", "--seed", f"{name:0>32}", "--tails-server-base-url", tails_url)
        agent = await acapy_pool.get("1.2.7", f"ledger-{name}", automatic=auto, flags=flags, plugins=True)
        mine, connection = await connect(tenant, agent)
        side = Side(tenant, mine["contactUuid"], agent, connection, ours, await define(agent))
        await give_each_other(side)
        sides.append(side)
    yield World(*sides)
    await tails.cleanup()
    del os.environ["LEDGER_FILE"]


async def give_each_other(side: Side) -> None:
    agent, issue = side.agent, NEW.issue
    thread = await offered(side, NEW, VALUES)
    if "manual" in agent.name:
        await agent.go_on(issue, await agent.wait_exchange(issue, thread, "offer-received"), "send-request")
        await agent.go_on(issue, await agent.wait_exchange(issue, thread, "credential-received"), "store")
    side.referent = await taken(agent, NEW, thread, side.ours, VALUES)
    body = NEW.offer(side.theirs, VALUES)
    begun = await agent.begin(issue, "send-offer", connection_id=side.connection, auto_issue=True, **body)
    thread = begun["thread_id"]
    await accept_exchange(side.tenant, await exchange_of(side.tenant, thread, "offer-received"))
    side.credential = (await held(side.tenant, thread))["uuid"]


@pytest.fixture
async def auto(world: World, agents: Agents) -> Side:
    return await _at_rest(world.auto, agents)


@pytest.fixture
async def manual(world: World, agents: Agents) -> Side:
    return await _at_rest(world.manual, agents)


async def _at_rest(side: Side, agents: Agents) -> Side:
    """With the tenant's settings at their defaults, and the agent's log for a test that fails."""
    await automatic(side.tenant)
    await agents("1.2.7", side.agent.name.removesuffix("-1.2.7"))
    return side


def person() -> dict[str, str]:
    """Values that no other credential has."""
    return {"name": f"Alice {uuid.uuid4()}", "age": "24"}


async def offered(side: Side, dialect: Dialect, values: dict[str, str]) -> str:
    """The thread of an offer of ours."""
    data = {"credentialDefinitionId": side.ours, "attributes": values}
    body = dialect.ours("issue-credential", command="offer", to=side.contact, data=data)
    return str((await side.tenant.post("credential", body))["thid"])


async def proposed(side: Side, dialect: Dialect, values: dict[str, str]) -> Entity:
    """The exchange of our proposal of a credential of the agent's."""
    data = {"credentialDefinitionId": side.theirs, "attributes": values}
    body = dialect.ours("issue-credential", command="propose", to=side.contact, data=data)
    return dict(await side.tenant.post("credential", body))


async def brought(side: Side, values: dict[str, str]) -> Entity:
    """Our exchange that brought the credential with these values, which we hold."""

    async def check() -> Entity | None:
        hits: list[Entity] = (await side.tenant.get("credential?status=HELD&limit=200"))["hits"]
        return next((hit for hit in hits if hit["summary"]["claims"] == values), None)

    found = await side.tenant.stack.eventually(check)
    return dict(await side.tenant.get(f"exchange/{found['exchangeUuid']}"))


# We issue.


@both
async def test_we_offer(manual: Side, dialect: Dialect) -> None:
    values = person()
    thread = await offered(manual, dialect, values)
    got = await manual.agent.wait_exchange(dialect.issue, thread, dialect.state("offer-received"))
    await manual.agent.go_on(dialect.issue, got, "send-request")
    # What was offered is issued without asking.
    got = await manual.agent.wait_exchange(dialect.issue, thread, dialect.state("credential-received"))
    await manual.agent.go_on(dialect.issue, got, "store")
    await taken(manual.agent, dialect, thread, manual.ours, values)
    done = await exchange_of(manual.tenant, thread, "done")
    assert (done["role"], done["format"], done["error"]) == ("issuer", "anoncreds", None)


@both
async def test_we_offer_and_all_else_goes_by_itself(auto: Side, dialect: Dialect) -> None:
    values = person()
    thread = await offered(auto, dialect, values)
    await taken(auto.agent, dialect, thread, auto.ours, values)
    await exchange_of(auto.tenant, thread, "done")


@both
async def test_acapy_proposes_and_we_offer(manual: Side, dialect: Dialect) -> None:
    values = person()
    begun = await manual.agent.begin(
        dialect.issue, "send-proposal", connection_id=manual.connection, **dialect.proposal(manual.ours, values)
    )
    thread = begun["thread_id"]
    got = await exchange_of(manual.tenant, thread, "proposal-received")
    assert (got["status"], got["role"], got["format"]) == ("WAITING", "issuer", "anoncreds")
    await accept_exchange(manual.tenant, got)
    got = await manual.agent.wait_exchange(dialect.issue, thread, dialect.state("offer-received"))
    await manual.agent.go_on(dialect.issue, got, "send-request")
    got = await manual.agent.wait_exchange(dialect.issue, thread, dialect.state("credential-received"))
    await manual.agent.go_on(dialect.issue, got, "store")
    await taken(manual.agent, dialect, thread, manual.ours, values)
    await exchange_of(manual.tenant, thread, "done")


@both
async def test_acapy_proposes_and_all_else_goes_by_itself(auto: Side, dialect: Dialect) -> None:
    await automatic(auto.tenant, autoOffer=True)
    values = person()
    begun = await auto.agent.begin(
        dialect.issue, "send-proposal", connection_id=auto.connection, **dialect.proposal(auto.ours, values)
    )
    await taken(auto.agent, dialect, begun["thread_id"], auto.ours, values)
    await exchange_of(auto.tenant, begun["thread_id"], "done")


@both
async def test_we_offer_other_than_was_proposed(auto: Side, dialect: Dialect) -> None:
    values = {**person(), "age": "42"}
    begun = await auto.agent.begin(
        dialect.issue,
        "send-proposal",
        connection_id=auto.connection,
        **dialect.proposal(auto.ours, {**values, "age": "41"}),
    )
    got = await exchange_of(auto.tenant, begun["thread_id"], "proposal-received")
    await accept_exchange(auto.tenant, got, attributes=values)
    await taken(auto.agent, dialect, begun["thread_id"], auto.ours, values)
    await exchange_of(auto.tenant, begun["thread_id"], "done")


@both
async def test_acapy_declines_our_offer(manual: Side, dialect: Dialect) -> None:
    thread = await offered(manual, dialect, person())
    got = await manual.agent.wait_exchange(dialect.issue, thread, dialect.state("offer-received"))
    await manual.agent.go_on(dialect.issue, got, "problem-report", description="that is not me")
    over = await exchange_of(manual.tenant, thread, "abandoned")
    assert "issuance-abandoned" in over["error"]


@both
async def test_acapy_does_not_take_our_credential(manual: Side, dialect: Dialect) -> None:
    thread = await offered(manual, dialect, person())
    got = await manual.agent.wait_exchange(dialect.issue, thread, dialect.state("offer-received"))
    await manual.agent.go_on(dialect.issue, got, "send-request")
    got = await manual.agent.wait_exchange(dialect.issue, thread, dialect.state("credential-received"))
    await manual.agent.go_on(dialect.issue, got, "problem-report", description="no longer wanted")
    over = await exchange_of(manual.tenant, thread, "abandoned")
    assert "issuance-abandoned" in over["error"]


@both
async def test_we_decline_what_acapy_proposes(manual: Side, dialect: Dialect) -> None:
    begun = await manual.agent.begin(
        dialect.issue, "send-proposal", connection_id=manual.connection, **dialect.proposal(manual.ours, person())
    )
    thread = begun["thread_id"]
    await reject_exchange(manual.tenant, await exchange_of(manual.tenant, thread, "proposal-received"), "not to you")
    over = await manual.agent.wait_exchange(dialect.issue, thread, "abandoned")
    assert "not to you" in over["error_msg"]


@both
async def test_we_decline_what_acapy_requests(manual: Side, dialect: Dialect) -> None:
    await automatic(manual.tenant, autoIssue=False)
    thread = await offered(manual, dialect, person())
    got = await manual.agent.wait_exchange(dialect.issue, thread, dialect.state("offer-received"))
    await manual.agent.go_on(dialect.issue, got, "send-request")
    got = await exchange_of(manual.tenant, thread, "request-received")
    assert got["status"] == "WAITING"
    await reject_exchange(manual.tenant, got, "too late")
    over = await manual.agent.wait_exchange(dialect.issue, thread, "abandoned")
    assert "too late" in over["error_msg"]


@both
async def test_what_cannot_be_offered_is_the_tenants_to_answer(manual: Side, dialect: Dialect) -> None:
    await automatic(manual.tenant, autoOffer=True)
    begun = await manual.agent.begin(
        dialect.issue,
        "send-proposal",
        connection_id=manual.connection,
        **dialect.proposal(manual.theirs, person()),
    )
    got = await exchange_of(manual.tenant, begun["thread_id"], "proposal-received")
    assert got["status"] == "WAITING"
    assert manual.theirs in got["error"]


# ACA-Py issues.


@both
async def test_acapy_offers(manual: Side, dialect: Dialect) -> None:
    await automatic(manual.tenant, autoStore=False)
    values = person()
    begun = await manual.agent.begin(
        dialect.issue, "send-offer", connection_id=manual.connection, **dialect.offer(manual.theirs, values)
    )
    thread = begun["thread_id"]
    got = await exchange_of(manual.tenant, thread, "offer-received")
    assert (got["status"], got["role"], got["format"]) == ("WAITING", "holder", "anoncreds")
    await accept_exchange(manual.tenant, got)
    asked = await manual.agent.wait_exchange(dialect.issue, thread, dialect.state("request-received"))
    await manual.agent.go_on(dialect.issue, asked, "issue", comment="here")
    got = await exchange_of(manual.tenant, thread, "credential-received")
    assert got["status"] == "WAITING"
    await accept_exchange(manual.tenant, got)
    await manual.agent.wait_exchange(dialect.issue, thread, dialect.acked)
    await held(manual.tenant, thread, values)


@both
async def test_acapy_offers_and_all_else_goes_by_itself(auto: Side, dialect: Dialect) -> None:
    await automatic(auto.tenant, autoRequest=True)
    values = person()
    begun = await auto.agent.begin(
        dialect.issue, "send", connection_id=auto.connection, **dialect.proposal(auto.theirs, values)
    )
    await auto.agent.wait_exchange(dialect.issue, begun["thread_id"], dialect.acked)
    await held(auto.tenant, begun["thread_id"], values)


@both
async def test_we_propose_and_acapy_offers(manual: Side, dialect: Dialect) -> None:
    values = person()
    begun = await proposed(manual, dialect, values)
    got = await manual.agent.wait_exchange(dialect.issue, begun["thid"], dialect.state("proposal-received"))
    sent = await manual.agent.go_on(dialect.issue, got, "send-offer")
    thread = sent["thread_id"]
    # In 1.0 ACA-Py's offer answers no message: it opens a thread of its own.
    assert (thread != begun["thid"]) == dialect.is_old
    await accept_exchange(manual.tenant, await exchange_of(manual.tenant, thread, "offer-received"))
    asked = await manual.agent.wait_exchange(dialect.issue, thread, dialect.state("request-received"))
    await manual.agent.go_on(dialect.issue, asked, "issue")
    await manual.agent.wait_exchange(dialect.issue, thread, dialect.acked)
    await held(manual.tenant, thread, values)
    if dialect.is_old:
        # Nobody will ever answer the proposal.
        over = await reject_exchange(manual.tenant, begun, "answered elsewhere")
        assert (over["state"], over["status"]) == ("abandoned", "ABANDONED")


@both
async def test_we_propose_and_all_else_goes_by_itself(auto: Side, dialect: Dialect) -> None:
    await automatic(auto.tenant, autoRequest=True)
    values = person()
    begun = await proposed(auto, dialect, values)
    thread = (await brought(auto, values))["thid"]
    await auto.agent.wait_exchange(dialect.issue, thread, dialect.acked)
    await held(auto.tenant, thread, values)
    assert (thread != begun["thid"]) == dialect.is_old


@both
async def test_acapy_offers_other_than_we_proposed(manual: Side, dialect: Dialect) -> None:
    values = {**person(), "age": "42"}
    begun = await proposed(manual, dialect, {**values, "age": "41"})
    got = await manual.agent.wait_exchange(dialect.issue, begun["thid"], dialect.state("proposal-received"))
    sent = await manual.agent.go_on(dialect.issue, got, "send-offer", **dialect.counter(manual.theirs, values))
    thread = sent["thread_id"]
    await accept_exchange(manual.tenant, await exchange_of(manual.tenant, thread, "offer-received"))
    asked = await manual.agent.wait_exchange(dialect.issue, thread, dialect.state("request-received"))
    await manual.agent.go_on(dialect.issue, asked, "issue")
    await held(manual.tenant, thread, values)


@both
async def test_we_answer_an_offer_by_a_proposal(manual: Side, dialect: Dialect) -> None:
    values = person()
    begun = await manual.agent.begin(
        dialect.issue,
        "send-offer",
        connection_id=manual.connection,
        **dialect.offer(manual.theirs, {**values, "age": "99"}),
    )
    got = await exchange_of(manual.tenant, begun["thread_id"], "offer-received")
    data = {"credentialDefinitionId": manual.theirs, "attributes": values}
    body = dialect.ours("issue-credential", command="propose", exchangeUuid=got["uuid"], data=data)
    await manual.tenant.post("credential", body, 200)
    # The agent takes what answers its offer for another exchange of the thread, and does not know which of the two a
    # request belongs to.
    await manual.agent.call("DELETE", f"{dialect.issue.path}/records/{begun[dialect.issue.id_name]}")
    got = await manual.agent.wait_exchange(dialect.issue, begun["thread_id"], dialect.state("proposal-received"))
    sent = await manual.agent.go_on(dialect.issue, got, "send-offer")
    thread = sent["thread_id"]
    await accept_exchange(manual.tenant, await exchange_of(manual.tenant, thread, "offer-received"))
    asked = await manual.agent.wait_exchange(dialect.issue, thread, dialect.state("request-received"))
    await manual.agent.go_on(dialect.issue, asked, "issue")
    await held(manual.tenant, thread, values)


@both
async def test_we_decline_what_acapy_offers(manual: Side, dialect: Dialect) -> None:
    begun = await manual.agent.begin(
        dialect.issue, "send-offer", connection_id=manual.connection, **dialect.offer(manual.theirs, person())
    )
    thread = begun["thread_id"]
    await reject_exchange(manual.tenant, await exchange_of(manual.tenant, thread, "offer-received"), "not me")
    over = await manual.agent.wait_exchange(dialect.issue, thread, "abandoned")
    assert "not me" in over["error_msg"]


@both
async def test_acapy_declines_what_we_propose_and_request(manual: Side, dialect: Dialect) -> None:
    begun = await proposed(manual, dialect, person())
    got = await manual.agent.wait_exchange(dialect.issue, begun["thid"], dialect.state("proposal-received"))
    await manual.agent.go_on(dialect.issue, got, "problem-report", description="we do not know you")
    over = await exchange_of(manual.tenant, begun["thid"], "abandoned")
    assert "issuance-abandoned" in over["error"]

    sent = await manual.agent.begin(
        dialect.issue, "send-offer", connection_id=manual.connection, **dialect.offer(manual.theirs, person())
    )
    thread = sent["thread_id"]
    await accept_exchange(manual.tenant, await exchange_of(manual.tenant, thread, "offer-received"))
    asked = await manual.agent.wait_exchange(dialect.issue, thread, dialect.state("request-received"))
    await manual.agent.go_on(dialect.issue, asked, "problem-report", description="too late")
    over = await exchange_of(manual.tenant, thread, "abandoned")
    assert "issuance-abandoned" in over["error"]


# ACA-Py shows, we verify.


async def asked_by_us(side: Side, dialect: Dialect, asked: Record) -> str:
    """The thread of a proof request of ours."""
    body = dialect.ours("present-proof", to=side.contact, data=asked)
    return str((await side.tenant.post("proof-request", body))["thid"])


@both
async def test_we_ask(manual: Side, dialect: Dialect) -> None:
    more: Record = {**SELF, "years": {"name": "age", "restrictions": [{"cred_def_id": manual.ours}]}}
    thread = await asked_by_us(manual, dialect, asked_for(manual.ours, more=more))
    got = await manual.agent.wait_exchange(dialect.prove, thread, dialect.state("request-received"))
    answer = {
        "self_attested_attributes": {"nick": "Al"},
        "requested_attributes": {
            "who": {"cred_id": manual.referent, "revealed": True},
            "years": {"cred_id": manual.referent, "revealed": False},
        },
        "requested_predicates": {"adult": {"cred_id": manual.referent}},
    }
    await manual.agent.go_on(dialect.prove, got, "send-presentation", **dialect.presentation(answer))
    await manual.agent.wait_exchange(dialect.prove, thread, dialect.presented)
    summary = (await shown(manual.tenant, thread))["summary"]
    assert summary["claims"] == {"who": {"name": VALUES["name"]}}
    assert summary["predicates"] == {"adult": "age >= 18"}
    assert summary["selfAttested"] == {"nick": {"nickname": "Al"}}


@both
async def test_we_ask_and_all_else_goes_by_itself(auto: Side, dialect: Dialect) -> None:
    thread = await asked_by_us(auto, dialect, asked_for(auto.ours, name=VALUES["name"]))
    assert (await shown(auto.tenant, thread))["summary"]["claims"] == {"who": {"name": VALUES["name"]}}
    await auto.agent.wait_exchange(dialect.prove, thread, dialect.presented)


@both
async def test_acapy_proposes_what_to_show(auto: Side, dialect: Dialect) -> None:
    body = dialect.proof_proposal(auto.ours, 18)
    begun = await auto.agent.begin(
        dialect.prove, "send-proposal", connection_id=auto.connection, auto_present=True, **body
    )
    thread = begun["thread_id"]
    got = await exchange_of(auto.tenant, thread, "proposal-received")
    assert (got["status"], got["role"], got["format"]) == ("WAITING", "verifier", "anoncreds")
    await accept_exchange(auto.tenant, got)
    summary = (await shown(auto.tenant, thread))["summary"]
    assert list(summary["predicates"].values()) == ["age >= 18"]
    await auto.agent.wait_exchange(dialect.prove, thread, dialect.presented)


@both
async def test_we_ask_for_more_than_was_proposed(auto: Side, dialect: Dialect) -> None:
    body = dialect.proof_proposal(auto.ours, 18)
    begun = await auto.agent.begin(
        dialect.prove, "send-proposal", connection_id=auto.connection, auto_present=True, **body
    )
    got = await exchange_of(auto.tenant, begun["thread_id"], "proposal-received")
    await accept_exchange(auto.tenant, got, data=asked_for(auto.ours, 21, VALUES["name"]))
    assert (await shown(auto.tenant, begun["thread_id"]))["summary"]["predicates"] == {"adult": "age >= 21"}


@both
async def test_acapy_declines_to_show(manual: Side, dialect: Dialect) -> None:
    thread = await asked_by_us(manual, dialect, asked_for(manual.ours))
    got = await manual.agent.wait_exchange(dialect.prove, thread, dialect.state("request-received"))
    await manual.agent.go_on(dialect.prove, got, "problem-report", description="none of your business")
    over = await exchange_of(manual.tenant, thread, "abandoned")
    assert "abandoned" in over["error"]


@both
async def test_we_decline_what_acapy_would_show(manual: Side, dialect: Dialect) -> None:
    body = dialect.proof_proposal(manual.ours, 18)
    begun = await manual.agent.begin(dialect.prove, "send-proposal", connection_id=manual.connection, **body)
    thread = begun["thread_id"]
    await reject_exchange(manual.tenant, await exchange_of(manual.tenant, thread, "proposal-received"), "no need")
    over = await manual.agent.wait_exchange(dialect.prove, thread, "abandoned")
    assert "no need" in over["error_msg"]


@both
async def test_we_do_not_take_what_acapy_shows(auto: Side, dialect: Dialect) -> None:
    await automatic(auto.tenant, autoVerify=False)
    thread = await asked_by_us(auto, dialect, asked_for(auto.ours))
    got = await exchange_of(auto.tenant, thread, "presentation-received")
    assert got["status"] == "WAITING"
    await reject_exchange(auto.tenant, got, "changed my mind")
    over = await auto.agent.wait_exchange(dialect.prove, thread, "abandoned")
    assert "changed my mind" in over["error_msg"]


# We show, ACA-Py verifies.


async def believed(side: Side, dialect: Dialect, thread: str) -> Record:
    """The agent has found nothing wrong, and said so."""
    found = await side.agent.wait_exchange(dialect.prove, thread, dialect.verified)
    assert found["verified"] == "true"
    done = await exchange_of(side.tenant, thread, "done")
    presentation = await side.tenant.get(f"presentation/{done['presentationUuids'][0]}")
    assert presentation["status"] == "ACCEPTED"
    return await side.agent.exchange(dialect.prove, found)


def _told(dialect: Dialect, record: Record) -> Record:
    """What the agent was shown."""
    proof = record["presentation"] if dialect.is_old else record["by_format"]["pres"]["indy"]
    return dict(proof["requested_proof"])


@both
async def test_acapy_asks(manual: Side, dialect: Dialect) -> None:
    more: Record = {**SELF, "years": {"name": "age", "restrictions": [{"cred_def_id": manual.theirs}]}}
    asked = asked_for(manual.theirs, more=more)
    begun = await manual.agent.begin(
        dialect.prove, "send-request", connection_id=manual.connection, **dialect.request(asked)
    )
    thread = begun["thread_id"]
    got = await exchange_of(manual.tenant, thread, "request-received")
    assert (got["status"], got["role"], got["format"]) == ("WAITING", "prover", "anoncreds")
    found = (await manual.tenant.get(f"exchange/{got['uuid']}/candidates"))["candidates"]
    assert [one["name"] for one in found if manual.credential in one["credentials"]] == ["who", "years", "adult"]
    chosen = {
        "who": manual.credential,
        "years": {"credentialUuid": manual.credential, "reveal": False},
        "adult": manual.credential,
        "nick": {"selfAttested": "Al"},
    }
    await accept_exchange(manual.tenant, got, credentials=chosen)
    record = await manual.agent.wait_exchange(dialect.prove, thread, dialect.state("presentation-received"))
    await manual.agent.go_on(dialect.prove, record, "verify-presentation")
    told = _told(dialect, await believed(manual, dialect, thread))
    assert {name: value["raw"] for name, value in told["revealed_attrs"].items()} == {"who": VALUES["name"]}
    assert told["self_attested_attrs"] == {"nick": "Al"}
    assert (list(told["unrevealed_attrs"]), list(told["predicates"])) == (["years"], ["adult"])


@both
async def test_acapy_asks_and_all_else_goes_by_itself(auto: Side, dialect: Dialect) -> None:
    await automatic(auto.tenant, autoPresent=True)
    asked = dialect.request(asked_for(auto.theirs))
    begun = await auto.agent.begin(dialect.prove, "send-request", connection_id=auto.connection, **asked)
    await believed(auto, dialect, begun["thread_id"])


async def would_show(side: Side, dialect: Dialect, **body: str) -> Entity:
    """The exchange of our proposal to show the agent's credential."""
    data: Record = asked_for(side.theirs)
    if dialect.is_old:
        data = {
            "attributes": [{"name": "name", "cred_def_id": side.theirs, "value": VALUES["name"]}],
            "predicates": [{"name": "age", "cred_def_id": side.theirs, "predicate": ">=", "threshold": 18}],
        }
    given = dialect.ours("present-proof", command="propose", data=data, **(body or {"to": side.contact}))
    answer = await side.tenant.call("POST", "presentation", given)
    assert answer.status in (200, 201), answer.body
    return dict(answer.json())


@both
async def test_we_propose_what_to_show(manual: Side, dialect: Dialect) -> None:
    thread = (await would_show(manual, dialect))["thid"]
    got = await manual.agent.wait_exchange(dialect.prove, thread, dialect.state("proposal-received"))
    await manual.agent.go_on(dialect.prove, got, "send-request")
    asked = await exchange_of(manual.tenant, thread, "request-received")
    found = (await manual.tenant.get(f"exchange/{asked['uuid']}/candidates"))["candidates"]
    # What was proposed with a value, the agent wants with that value.
    await accept_exchange(manual.tenant, asked, credentials={one["name"]: manual.credential for one in found})
    record = await manual.agent.wait_exchange(dialect.prove, thread, dialect.state("presentation-received"))
    await manual.agent.go_on(dialect.prove, record, "verify-presentation")
    await believed(manual, dialect, thread)


@both
async def test_we_answer_a_request_by_a_proposal(manual: Side, dialect: Dialect) -> None:
    asked = dialect.request(asked_for(manual.theirs, 99))
    begun = await manual.agent.begin(dialect.prove, "send-request", connection_id=manual.connection, **asked)
    thread = begun["thread_id"]
    got = await exchange_of(manual.tenant, thread, "request-received")
    await would_show(manual, dialect, exchangeUuid=got["uuid"])
    await manual.agent.call("DELETE", f"{dialect.prove.path}/records/{begun[dialect.prove.id_name]}")
    record = await manual.agent.wait_exchange(dialect.prove, thread, dialect.state("proposal-received"))
    await manual.agent.go_on(dialect.prove, record, "send-request")
    got = await exchange_of(manual.tenant, thread, "request-received")
    found = (await manual.tenant.get(f"exchange/{got['uuid']}/candidates"))["candidates"]
    assert all(one["credentials"] for one in found)
    await accept_exchange(manual.tenant, got, credentials={one["name"]: manual.credential for one in found})
    record = await manual.agent.wait_exchange(dialect.prove, thread, dialect.state("presentation-received"))
    await manual.agent.go_on(dialect.prove, record, "verify-presentation")
    await believed(manual, dialect, thread)


@both
async def test_what_we_do_not_hold_is_not_shown(auto: Side, dialect: Dialect) -> None:
    await automatic(auto.tenant, autoPresent=True)
    asked = dialect.request(asked_for(auto.theirs, 99))
    begun = await auto.agent.begin(dialect.prove, "send-request", connection_id=auto.connection, **asked)
    got = await exchange_of(auto.tenant, begun["thread_id"], "request-received")
    assert (got["status"], "adult" in got["error"]) == ("WAITING", True)
    answer = await auto.tenant.call("POST", f"exchange/{got['uuid']}/accept", {})
    assert (answer.status, answer.json()["type"].rpartition(":")[2]) == (409, "nothing-to-present")
    await reject_exchange(auto.tenant, got, "too young")
    over = await auto.agent.wait_exchange(dialect.prove, begun["thread_id"], "abandoned")
    assert "too young" in over["error_msg"]


@both
async def test_acapy_declines_what_we_would_show(manual: Side, dialect: Dialect) -> None:
    thread = (await would_show(manual, dialect))["thid"]
    got = await manual.agent.wait_exchange(dialect.prove, thread, dialect.state("proposal-received"))
    await manual.agent.go_on(dialect.prove, got, "problem-report", description="no need")
    assert "abandoned" in (await exchange_of(manual.tenant, thread, "abandoned"))["error"]


@both
async def test_acapy_does_not_take_what_we_show(manual: Side, dialect: Dialect) -> None:
    asked = dialect.request(asked_for(manual.theirs))
    begun = await manual.agent.begin(dialect.prove, "send-request", connection_id=manual.connection, **asked)
    thread = begun["thread_id"]
    await accept_exchange(manual.tenant, await exchange_of(manual.tenant, thread, "request-received"))
    got = await manual.agent.wait_exchange(dialect.prove, thread, dialect.state("presentation-received"))
    await manual.agent.go_on(dialect.prove, got, "problem-report", description="changed our mind")
    assert "abandoned" in (await exchange_of(manual.tenant, thread, "abandoned"))["error"]


# Of ACA-Py's credentials, among tenants.


@both
async def test_what_acapy_issued_is_shown_to_another_tenant(auto: Side, dialect: Dialect) -> None:
    stack = auto.tenant.stack
    await automatic(auto.tenant, autoPresent=True)
    verifier = await stack.register("Bolt")
    mine, _ = await stack.connect(verifier, auto.tenant)
    body = dialect.ours("present-proof", to=mine.contact_uuid, data=asked_for(auto.theirs, name=VALUES["name"]))
    begun = await verifier.post("proof-request", body)
    summary = (await shown(verifier, begun["thid"]))["summary"]
    assert (summary["claims"], summary["predicates"]) == ({"who": {"name": "Alice Smith"}}, {"adult": "age >= 18"})


@pytest.fixture(scope="module")
async def revocable(world: World) -> str:
    """A credential definition of the agent's, whose registries it makes by itself: one to use, one in reserve."""
    agent = world.auto.agent
    definition = await define(agent, "revocable", support_revocation=True, revocation_registry_size=4)

    async def ready() -> bool:
        made = await agent.call("GET", "revocation/registries/created", cred_def_id=definition, state="active")
        return len(made["rev_reg_ids"]) == 2

    await until(ready)
    return definition


@both
async def test_what_acapy_revokes_is_shown_no_longer(auto: Side, dialect: Dialect, revocable: str) -> None:
    values = person()
    body = dialect.offer(revocable, values)
    begun = await auto.agent.begin(dialect.issue, "send-offer", connection_id=auto.connection, auto_issue=True, **body)
    thread = begun["thread_id"]
    await accept_exchange(auto.tenant, await exchange_of(auto.tenant, thread, "offer-received"))
    credential = await held(auto.tenant, thread, values, "status")
    await auto.agent.wait_exchange(dialect.issue, thread, dialect.acked)

    now = int(time.time())
    asked = {**asked_for(revocable, name=values["name"]), "non_revoked": {"to": now}}
    chosen = {"who": credential["uuid"], "adult": credential["uuid"]}
    shown_to = await auto.agent.begin(
        dialect.prove, "send-request", connection_id=auto.connection, **dialect.request(asked)
    )
    got = await exchange_of(auto.tenant, shown_to["thread_id"], "request-received")
    await accept_exchange(auto.tenant, got, credentials=chosen)
    await believed(auto, dialect, shown_to["thread_id"])

    verifier = await auto.tenant.stack.register("Bolt")
    mine, _ = await auto.tenant.stack.connect(verifier, auto.tenant)
    await automatic(auto.tenant, autoPresent=True)
    ask = dialect.ours("present-proof", to=mine.contact_uuid, data=asked)
    await shown(verifier, (await verifier.post("proof-request", ask))["thid"], "status")

    revoke = {"cred_ex_id": begun[dialect.issue.id_name], "publish": True}
    await auto.agent.call("POST", "revocation/revoke", revoke)
    now = int(time.time()) + 1
    again = await auto.tenant.post(f"credential/{credential['uuid']}/verify", None, 200)
    assert [check["name"] for check in again["checks"] if not check["passed"]] == ["status"]
    ask["data"] = {**asked, "non_revoked": {"to": now}}
    begun = await verifier.post("proof-request", ask)

    got = await exchange_of(auto.tenant, begun["thid"], "request-received")
    assert (got["status"], "who" in got["error"]) == ("WAITING", True)
