"""Issuing, showing and revoking AnonCreds, and what must not come through."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from devtools.azurite import Azurite
from tests.definition_keys import DefinitionKeys
from tests.unit.credentials.anoncreds_world import Tenant, World, failed
from tntcore.credentials.anoncreds import proof, work
from tntcore.credentials.anoncreds.common import encode
from tntcore.credentials.anoncreds.credential import preview_of
from tntcore.credentials.anoncreds.issuer import revocation_of
from tntcore.credentials.anoncreds.registry import resource_url
from tntcore.credentials.formats import Attribute, FormatError, HeldCredential, Issuing
from tntcore.errors import Problem
from tntcore.storage.records import CredentialDefinition, LinkSecret, Schema
from tntcore.storage.storage import Storage
from tntcore.telemetry import Meter
from tntcore.workers import Workers

VALUES = {"name": "Alice Smith", "age": "24", "degree": "Maths"}


@dataclass
class Stage:
    """`held` can be revoked; `plain` is of another issuer, and cannot."""

    world: World
    issuer: Tenant
    holder: Tenant
    verifier: Tenant
    schema: Schema
    definition: CredentialDefinition
    held: HeldCredential
    other: CredentialDefinition
    other_issuer: Tenant
    plain: HeldCredential

    @property
    def id(self) -> str:
        return self.definition.credential_definition_id

    def adult(self, **more: Any) -> dict[str, Any]:
        """A request for the name, and that the age is at least 18."""
        restrictions = [{"cred_def_id": self.id}]
        return {
            "requested_attributes": {"who": {"name": "name", "restrictions": restrictions}},
            "requested_predicates": {
                "adult": {"name": "age", "p_type": ">=", "p_value": 18, "restrictions": restrictions}
            },
            **more,
        }


@pytest.fixture(scope="module")
async def stage(azurite: Azurite, definition_keys: DefinitionKeys) -> AsyncIterator[Stage]:
    storage, workers = Storage(azurite.connection_string, Meter(), lambda queue, delay: None), Workers(2, 300)
    definition_keys.share(workers)
    await storage.ensure()
    world = World(storage, workers)
    issuer, other_issuer, holder, verifier = (world.tenant() for _ in range(4))
    (schema, definition), (_, other) = await asyncio.gather(
        world.define(issuer, list(VALUES), 20), world.define(other_issuer, ["name", "Club Name"])
    )
    held = await world.issued(issuer, holder, definition, VALUES)
    plain = await world.issued(other_issuer, holder, other, {"name": "Alice", "clubname": "Chess"})
    yield Stage(world, issuer, holder, verifier, schema, definition, held, other, other_issuer, plain)
    await workers.close()
    await storage.close()


async def test_what_was_issued_is_shown_and_verified(stage: Stage) -> None:
    world = stage.world
    request = await world.ask(stage.verifier, **stage.adult())
    candidates = await world.proofs.candidates(request, [stage.plain, stage.held])
    assert [(one.name, list(one.credentials)) for one in candidates] == [
        ("who", [stage.held.uuid]),
        ("adult", [stage.held.uuid]),
    ]
    shown = await world.show(stage.holder, request, stage.plain, stage.held)
    verified = await world.verify(stage.verifier, request, shown)
    assert verified.verification.verified, verified.verification.checks
    assert verified.summary["claims"] == {"who": {"name": "Alice Smith"}}
    assert verified.summary["predicates"] == {"adult": "age >= 18"}
    assert verified.summary["credentials"] == [
        {
            "issuer": stage.issuer.identity.did,
            "schemaId": stage.schema.schema_id,
            "credentialDefinitionId": stage.id,
        }
    ]


async def test_who_issues_on_a_ledger_publishes_there(stage: Stage) -> None:
    world, issuer = stage.world, stage.world.tenant()
    issuer.identity.did, issuer.identity.own_did = "did:sov:WgWxqztrNooG92RXvxSTWv", issuer.identity.did
    with pytest.raises(Problem, match="identity-unsuitable"):
        await world.define(issuer, ["name"])
    world.ledger.issuers[issuer.identity.did] = "WgWxqztrNooG92RXvxSTWv"
    with pytest.raises(Problem, match="revocation-unsupported"):
        await world.define(issuer, ["name"], 20)
    schema, definition = await world.define(issuer, ["name"])
    assert (schema.issuer_id, definition.issuer_id) == ("WgWxqztrNooG92RXvxSTWv",) * 2
    assert schema.schema_id.startswith("WgWxqztrNooG92RXvxSTWv:2:schema ")
    assert definition.credential_definition_id.startswith("WgWxqztrNooG92RXvxSTWv:3:CL:")
    held = await world.issued(issuer, stage.holder, definition, {"name": "Alice"})
    assert held.format == "hlindy/cred@v2.0"
    asked = {"name": "name", "restrictions": [{"issuer_did": "WgWxqztrNooG92RXvxSTWv"}]}
    request = await world.ask(stage.verifier, requested_attributes={"who": asked})
    shown = await world.show(stage.holder, request, stage.plain, held)
    verified = await world.verify(stage.verifier, request, shown)
    assert verified.verification.verified, verified.verification.checks


async def test_a_credential_says_what_it_is_and_is_checked_again_later(stage: Stage) -> None:
    assert stage.held.summary["claims"] == VALUES
    assert stage.held.summary["issuer"] == stage.issuer.identity.did
    assert stage.held.format == "anoncreds/credential@v1.0"
    again = await stage.world.credentials.verify(stage.held)
    assert again.verified
    assert {check.name for check in again.checks} == {"issuer", "schema", "encoding", "signature", "status"}
    values = copy.deepcopy(stage.held.value)
    values["values"]["age"] = {"raw": "65", "encoded": "65"}
    assert not (await stage.world.credentials.verify(replace(stage.held, value=values))).verified


async def test_several_credentials_groups_hidden_attributes_and_ones_own_word(stage: Stage) -> None:
    world = stage.world
    request = await world.ask(
        stage.verifier,
        requested_attributes={
            "both": {"names": ["name", "degree"], "restrictions": [{"issuer_did": stage.issuer.identity.did}]},
            "club": {"name": "Club name", "restrictions": [{"issuer_id": stage.other_issuer.identity.did}]},
            "hidden": {
                "name": "age",
                "restrictions": [{"schema_name": stage.schema.name, "attr::degree::marker": "1"}],
            },
            "nick": {"name": "nick"},
        },
    )
    with pytest.raises(Problem) as refused:
        await world.show(stage.holder, request, stage.held, stage.plain)
    assert (refused.value.status, refused.value.code) == (409, "nothing-to-present")
    shown = await world.show(
        stage.holder,
        request,
        stage.held,
        stage.plain,
        nick={"selfAttested": "Al"},
        hidden={"credentialUuid": stage.held.uuid, "reveal": False},
    )
    verified = await world.verify(stage.verifier, request, shown)
    assert verified.verification.verified, verified.verification.checks
    assert verified.summary["claims"] == {
        "both": {"name": "Alice Smith", "degree": "Maths"},
        "club": {"Club name": "Chess"},
    }
    assert verified.summary["selfAttested"] == {"nick": {"nick": "Al"}}
    assert verified.summary["unrevealed"] == ["hidden"]


async def test_a_candidate_fits_its_restrictions_and_predicates(stage: Stage) -> None:
    def asked(**restriction: str) -> dict[str, Any]:
        return {"name": "name", "restrictions": [restriction]}

    request = await stage.world.ask(
        stage.verifier,
        requested_attributes={
            "value": asked(**{"attr::degree::value": "Maths"}),
            "other value": asked(**{"attr::degree::value": "Law"}),
            "both": asked(schema_version="1.0", cred_def_id=stage.other.credential_definition_id),
            "neither": asked(schema_version="2.0", cred_def_id=stage.other.credential_definition_id),
            "unrestricted": {"name": "name"},
        },
        requested_predicates={
            "young": {"name": "age", "p_type": "<", "p_value": 24},
            "not older": {"name": "age", "p_type": "<=", "p_value": 24},
            "no number": {"name": "degree", "p_type": ">", "p_value": -5},
        },
    )
    candidates = await stage.world.proofs.candidates(request, [stage.held, stage.plain])
    held, plain = stage.held.uuid, stage.plain.uuid
    assert {one.name: list(one.credentials) for one in candidates} == {
        "value": [held],
        "other value": [],
        "both": [plain],
        "neither": [],
        "unrestricted": [held, plain],
        "young": [],
        "not older": [held],
        "no number": [],
    }


@pytest.mark.parametrize(
    ("text", "true"),
    [
        ("34", True),
        ("+34", True),
        ("034", True),
        ("3_4", False),
        (" 34", False),
        ("\u0663\u0664", False),
        ("2147483647", True),
        ("2147483648", False),
        ("1_767_225_600", False),
        ("99999999999", False),
        ("-1", False),
        ("thirty", False),
        ("", False),
    ],
)
def test_predicates_compare_what_is_encoded(text: str, true: bool) -> None:
    assert proof._is_true(">=", text, 18) is true
    assert (int(encode(text)) in range(18, 2**31)) is true


async def test_choices_that_are_none_are_refused(stage: Stage) -> None:
    request = await stage.world.ask(stage.verifier, **stage.adult())
    for chosen in (
        {"who": stage.plain.uuid},
        {"who": "nobody"},
        {"who": {"selfAttested": "Bob"}},
        {"else": stage.held.uuid},
    ):
        with pytest.raises(Problem) as refused:
            await stage.world.show(stage.holder, request, stage.held, stage.plain, **chosen)
        assert (refused.value.status, refused.value.code) == (400, "choice-invalid")


async def test_revoked_before_and_after(stage: Stage) -> None:
    world = stage.world
    held = await world.issued(stage.issuer, stage.holder, stage.definition, VALUES)
    start = world.now // 1000
    world.now += 100_000
    request = await world.ask(stage.verifier, **stage.adult(non_revoked={"from": start, "to": world.now // 1000}))
    shown = await world.show(stage.holder, request, held)
    verified = await world.verify(stage.verifier, request, shown)
    assert verified.verification.verified, verified.verification.checks
    assert ("status", "credential 0") in verified.verification.required
    number = revocation_of(held.value)
    assert number is not None
    for _ in range(2):
        await world.issuer.revoke(stage.issuer.records, *number)
    again = await world.credentials.verify(held)
    assert [check.name for check in again.checks if not check.passed] == ["status"]
    world.now += 100_000
    later = await world.ask(
        stage.verifier, **stage.adult(non_revoked={"from": world.now // 1000, "to": world.now // 1000})
    )
    with pytest.raises(Problem) as refused:
        await world.show(stage.holder, later, held)
    assert refused.value.code == "nothing-to-present"
    # What was shown of the time before does not do for the time after.
    forged = {**later, "nonce": request["nonce"]}
    assert failed(await world.verify(stage.verifier, forged, shown)) == {"status"}
    # The other credential is still good, and the next one too; a list from before the interval is the newest there is.
    world.now += 100_000
    latest = await world.ask(
        stage.verifier, **stage.adult(non_revoked={"from": world.now // 1000, "to": world.now // 1000})
    )
    good = await world.verify(stage.verifier, latest, await world.show(stage.holder, latest, held, stage.held))
    assert good.verification.verified, good.verification.checks
    next_one = await world.issued(stage.issuer, stage.holder, stage.definition, VALUES)
    assert (await world.credentials.verify(next_one)).verified


async def test_revocations_at_the_same_moment_are_all_published(stage: Stage) -> None:
    world = stage.world
    held = [await world.issued(stage.issuer, stage.holder, stage.definition, VALUES) for _ in range(3)]
    numbers = [revocation_of(one.value) for one in held]
    await asyncio.gather(*(world.issuer.revoke(stage.issuer.records, *number) for number in numbers if number))
    world.now += 10_000
    for one in held:
        assert not (await world.credentials.verify(one)).verified


async def test_nobody_revokes_what_is_not_theirs_or_was_never_issued(stage: Stage) -> None:
    number = revocation_of(stage.held.value)
    assert number is not None
    for records, index in ((stage.other_issuer.records, number[1]), (stage.issuer.records, 19)):
        with pytest.raises(Problem) as refused:
            await stage.world.issuer.revoke(records, number[0], index)
        assert refused.value.status == 409
    assert revocation_of(stage.plain.value) is None


async def test_a_registry_is_full_after_its_last_credential(stage: Stage) -> None:
    world = stage.world
    _, definition = await world.define(stage.issuer, ["name"], 2)
    held = [await world.issued(stage.issuer, stage.holder, definition, {"name": "A"}) for _ in range(2)]
    with pytest.raises(Problem) as refused:
        await world.issued(stage.issuer, stage.holder, definition, {"name": "A"})
    assert refused.value.code == "revocation-registry-full"
    number = revocation_of(held[-1].value)
    assert number == (definition.revocation_registry_id, 2)
    await world.issuer.revoke(stage.issuer.records, *number)
    world.now += 5_000
    assert not (await world.credentials.verify(held[-1])).verified
    request = await world.ask(
        stage.verifier,
        requested_attributes={"n": {"name": "name", "restrictions": [{"rev_reg_id": number[0]}]}},
        non_revoked={},
    )
    verified = await world.verify(stage.verifier, request, await world.show(stage.holder, request, *held))
    assert verified.verification.verified, verified.verification.checks


# What must not come through


async def test_a_credential_that_is_not_what_was_offered(stage: Stage) -> None:
    world = stage.world
    known, credential = await world.exchange(stage.issuer, stage.holder, stage.definition, VALUES)

    async def names(known: Issuing, credential: Any) -> set[str]:
        checks = (await world.receive(stage.holder, known, credential)).verification.checks
        return {check.name for check in checks if check.passed is not True}

    assert await names(known, credential) == set()
    altered = copy.deepcopy(credential)
    altered["values"]["age"] = {"raw": "65", "encoded": "65"}
    assert await names(known, altered) == {"request", "signature"}
    altered["values"]["age"] = {"raw": "65", "encoded": "24"}
    assert await names(known, altered) == {"request", "encoding"}
    other = replace(known, preview=[*known.preview[:-1], Attribute("degree", "Law")])
    assert await names(other, credential) == {"request"}
    assert await names(replace(known, preview=()), credential) == {"request"}
    _, another = await world.exchange(
        stage.other_issuer, stage.holder, stage.other, {"name": "Alice", "Club Name": "Chess"}
    )
    assert "request" in await names(known, another)
    # What was made for another holder's request.
    secret = (await world.exchange(stage.issuer, stage.verifier, stage.definition, VALUES))[0].secret
    assert await names(replace(known, secret=secret), credential) == {"signature"}


async def test_a_request_for_something_else_gets_no_credential(stage: Stage) -> None:
    world = stage.world
    known, _ = await world.exchange(stage.issuer, stage.holder, stage.definition, VALUES)
    other, _ = await world.exchange(stage.other_issuer, stage.holder, stage.other, {"name": "A", "Club Name": "C"})
    with pytest.raises(FormatError) as refused:
        await world.credentials.issue(stage.issuer.party, replace(known, request=other.request), None)
    assert refused.value.code == "request-mismatch"
    broken = copy.deepcopy(known.request)
    broken["blinded_ms_correctness_proof"]["c"] = "1"
    with pytest.raises(FormatError) as refused:
        await world.credentials.issue(stage.issuer.party, replace(known, request=broken), None)
    assert refused.value.code == "request-invalid"


async def test_only_ones_own_definitions_and_all_their_attributes_are_offered(stage: Stage) -> None:
    world, party = stage.world, stage.issuer.party
    for content, code in (
        ({"credentialDefinitionId": stage.other.credential_definition_id}, "credential-definition-unknown"),
        ({"credentialDefinitionId": stage.id, "attributes": {"name": "A"}}, "attributes-mismatch"),
        ({"credentialDefinitionId": stage.id, "attributes": {**VALUES, "x": "y"}}, "attributes-mismatch"),
        ({"credentialDefinitionId": stage.id, "attributes": {**VALUES, "name": "a\0b"}}, "attributes-invalid"),
        ({"credentialDefinitionId": stage.id, "attributes": {"name": 1}}, "attributes-invalid"),
        ({}, "credential-definition-missing"),
    ):
        with pytest.raises(Problem) as refused:
            await world.credentials.offer(party, Issuing(), content)
        assert refused.value.code == code
    proposal = (await world.credentials.propose(stage.holder.party, {"credentialDefinitionId": stage.id})).value
    preview = preview_of({"attributes": VALUES})
    offer = await world.credentials.offer(party, Issuing(proposal=proposal, preview=preview), None)
    assert offer.value["cred_def_id"] == stage.id


async def test_a_link_secret_is_made_once_and_is_nowhere_in_the_clear(stage: Stage) -> None:
    holder = stage.world.tenant()
    made = await asyncio.gather(*(stage.world.tools.link_secret(holder.records) for _ in range(3)))
    assert len(set(made)) == 1
    kept = await holder.records.get(LinkSecret, "default")
    assert kept is not None
    assert made[0].encode() not in kept.value


async def test_values_that_were_altered_in_a_presentation(stage: Stage) -> None:
    world = stage.world
    request = await world.ask(stage.verifier, **stage.adult())
    shown = await world.show(stage.holder, request, stage.held)
    altered = copy.deepcopy(shown)
    altered["requested_proof"]["revealed_attrs"]["who"]["raw"] = "Bob"
    assert failed(await world.verify(stage.verifier, request, altered)) == {"encoding"}
    altered["requested_proof"]["revealed_attrs"]["who"]["encoded"] = encode("Bob")
    assert failed(await world.verify(stage.verifier, request, altered)) == {"signature"}
    altered["proof"]["proofs"][0]["primary_proof"]["eq_proof"]["revealed_attrs"]["name"] = encode("Bob")
    assert failed(await world.verify(stage.verifier, request, altered)) == {"signature"}


async def test_a_presentation_is_good_for_one_nonce_only(stage: Stage) -> None:
    world = stage.world
    request = await world.ask(stage.verifier, **stage.adult())
    shown = await world.show(stage.holder, request, stage.held)
    again = await world.ask(stage.verifier, **stage.adult())
    assert again["nonce"] != request["nonce"]
    assert failed(await world.verify(stage.verifier, again, shown)) == {"signature"}


async def test_a_copy_of_a_presentation_has_its_mark(stage: Stage) -> None:
    """However its numbers are written; another presentation of the same has another."""
    world = stage.world
    request = await world.ask(stage.verifier, **stage.adult())
    shown = await world.show(stage.holder, request, stage.held)
    mark = (await world.verify(stage.verifier, request, shown)).mark
    assert mark
    other = await world.show(stage.holder, request, stage.held)
    assert (await world.verify(stage.verifier, request, other)).mark not in (mark, b"")
    altered = copy.deepcopy(shown)
    altered["proof"]["aggregated_proof"]["c_hash"] = "0" + shown["proof"]["aggregated_proof"]["c_hash"]
    assert (await world.verify(stage.verifier, request, altered)).mark == mark
    alone = await world.ask(stage.verifier, requested_attributes={"a": {"name": "phone"}})
    word = await world.show(stage.holder, alone, a={"selfAttested": "1"})
    assert (await world.verify(stage.verifier, alone, word)).mark == b""


@pytest.mark.parametrize("write", ["{}x", "{}_1", "{} ", "{}.0", "{}\n", " {}", "+{}", "-{}", "{}e0", "", "{}\u0661"])
async def test_a_proof_whose_challenge_is_no_number_is_none(stage: Stage, write: str) -> None:
    """The library reads a number up to the first character that is no digit, so a copy could have another mark."""
    world = stage.world
    request = await world.ask(stage.verifier, **stage.adult())
    shown = await world.show(stage.holder, request, stage.held)
    challenge = shown["proof"]["aggregated_proof"]
    challenge["c_hash"] = write.format(challenge["c_hash"])
    with pytest.raises(FormatError, match="c_hash"):
        await world.verify(stage.verifier, request, shown)


async def test_a_weaker_predicate_than_was_asked_for_proves_nothing(stage: Stage) -> None:
    """The library alone takes it: it verifies the predicates that the proof has."""
    world = stage.world
    request = await world.ask(stage.verifier, **stage.adult())
    request["requested_predicates"]["adult"]["p_value"] = 65
    weaker = copy.deepcopy(request)
    weaker["requested_predicates"]["adult"]["p_value"] = 1
    shown = await world.show(stage.holder, weaker, stage.held)
    assert failed(await world.verify(stage.verifier, request, shown)) == {"request"}
    forged = copy.deepcopy(shown)
    forged["proof"]["proofs"][0]["primary_proof"]["ge_proofs"][0]["predicate"]["value"] = 65
    assert "signature" in failed(await world.verify(stage.verifier, request, forged))
    with pytest.raises(Problem):
        await world.show(stage.holder, request, stage.held)


async def test_a_proof_of_non_revocation_that_was_left_out(stage: Stage) -> None:
    """Nor does the library ask for one that the presentation names a time for, but does not contain."""
    world = stage.world
    now = world.now // 1000
    request = await world.ask(stage.verifier, **stage.adult(non_revoked={"to": now}))
    plain = {name: value for name, value in request.items() if name != "non_revoked"}
    shown = await world.show(stage.holder, plain, stage.held)
    assert failed(await world.verify(stage.verifier, request, shown)) >= {"status"}
    status = await world.registry.revocation_status_list(stage.definition.revocation_registry_id, now)
    shown["identifiers"][0] |= {
        "rev_reg_id": stage.definition.revocation_registry_id,
        "timestamp": status["timestamp"],
    }
    assert failed(await world.verify(stage.verifier, request, shown)) >= {"status"}
    alone = work.verify(
        work.dumps(shown),
        work.dumps(request),
        {stage.schema.schema_id: work.dumps(await world.registry.schema(stage.schema.schema_id))},
        {stage.id: work.dumps(await world.registry.credential_definition(stage.id))},
        {status["revRegDefId"]: work.dumps(await world.registry.revocation_registry_definition(status["revRegDefId"]))},
        [work.dumps(status)],
    )
    assert alone


async def test_times_outside_of_the_interval(stage: Stage) -> None:
    world = stage.world
    world.now += 50_000
    victim = await world.issued(stage.issuer, stage.holder, stage.definition, VALUES)
    now = world.now // 1000
    request = await world.ask(stage.verifier, **stage.adult(non_revoked={"to": now}))
    shown = await world.show(stage.holder, request, stage.held)
    number = revocation_of(victim.value)
    assert number is not None
    await world.issuer.revoke(stage.issuer.records, *number)
    world.now += 50_000
    later = {**request, "non_revoked": {"from": world.now // 1000, "to": world.now // 1000}}
    assert failed(await world.verify(stage.verifier, later, shown)) == {"status"}
    newer = await world.show(stage.holder, later, stage.held)
    earlier = {**request, "non_revoked": {"from": now - 10, "to": now - 5}}
    assert failed(await world.verify(stage.verifier, earlier, newer)) >= {"status"}
    assert (await world.verify(stage.verifier, later, newer)).verification.verified
    newer["identifiers"][0]["timestamp"] += 1
    assert failed(await world.verify(stage.verifier, later, newer)) >= {"status"}


async def test_restrictions_that_are_not_met(stage: Stage) -> None:
    world = stage.world
    open_request = await world.ask(stage.verifier, requested_attributes={"who": {"name": "name"}})
    shown = await world.show(stage.holder, open_request, stage.plain)
    hidden = await world.show(
        stage.holder, open_request, stage.plain, who={"credentialUuid": stage.plain.uuid, "reveal": False}
    )
    stated = await world.show(stage.holder, open_request, who={"selfAttested": "Alice"})
    for restriction in (
        {"cred_def_id": stage.id},
        {"issuer_id": stage.issuer.identity.did},
        {"schema_issuer_did": stage.issuer.identity.did},
        {"schema_name": stage.schema.name},
        {"rev_reg_id": stage.definition.revocation_registry_id},
        {"attr::name::value": "Bob"},
        {"attr::age::marker": "1"},
    ):
        request = copy.deepcopy(open_request)
        request["requested_attributes"]["who"]["restrictions"] = [restriction]
        for given in (shown, hidden, stated):
            assert "request" in failed(await world.verify(stage.verifier, request, given)), restriction
    valued = copy.deepcopy(open_request)
    valued["requested_attributes"]["who"]["restrictions"] = [{"attr::name::value": "Alice"}]
    assert (await world.verify(stage.verifier, valued, shown)).verification.verified
    # A hidden attribute may have any value.
    assert failed(await world.verify(stage.verifier, valued, hidden)) == {"request"}


async def test_what_was_asked_for_is_all_there_and_nothing_else(stage: Stage) -> None:
    world = stage.world
    request = await world.ask(stage.verifier, **stage.adult())
    shown = await world.show(stage.holder, request, stage.held)
    for group, referent in (("revealed_attrs", "who"), ("predicates", "adult")):
        less = copy.deepcopy(shown)
        del less["requested_proof"][group][referent]
        assert "request" in failed(await world.verify(stage.verifier, request, less))
    more = copy.deepcopy(shown)
    more["requested_proof"]["self_attested_attrs"] = {"who": "Bob"}
    assert "request" in failed(await world.verify(stage.verifier, request, more))
    other = copy.deepcopy(request)
    other["requested_attributes"]["who"]["name"] = "degree"
    assert failed(await world.verify(stage.verifier, other, shown)) >= {"signature"}
    malformed: tuple[Any, ...] = (
        {**shown, "identifiers": []},
        {**shown, "identifiers": shown["identifiers"] * 2},
        {**shown, "requested_proof": []},
        {**shown, "requested_proof": {"revealed_attrs": {"who": {"sub_proof_index": 7, "raw": "", "encoded": ""}}}},
        {**shown, "requested_proof": {"revealed_attrs": {"who": {"sub_proof_index": True}}}},
        [],
    )
    for broken in malformed:
        with pytest.raises(FormatError):
            await world.verify(stage.verifier, request, broken)


async def test_credentials_of_two_holders_are_not_shown_as_one_holders(stage: Stage) -> None:
    world = stage.world
    theirs = await world.issued(
        stage.other_issuer, stage.verifier, stage.other, {"name": "Mallory", "Club Name": "Chess"}
    )
    request = await world.ask(
        stage.verifier,
        requested_attributes={
            "who": {"name": "name", "restrictions": [{"cred_def_id": stage.id}]},
            "club": {
                "name": "club name",
                "restrictions": [{"cred_def_id": stage.other.credential_definition_id}],
            },
        },
    )
    with pytest.raises(Problem) as refused:
        await world.show(stage.holder, request, stage.held, theirs)
    assert refused.value.code == "choice-invalid"
    one = await world.show(stage.holder, request, stage.held, stage.plain)
    another = await world.show(
        stage.verifier, {**request, "requested_attributes": {"club": request["requested_attributes"]["club"]}}, theirs
    )
    one["proof"]["proofs"][1] = another["proof"]["proofs"][0]
    one["requested_proof"]["revealed_attrs"]["club"] = {
        **another["requested_proof"]["revealed_attrs"]["club"],
        "sub_proof_index": 1,
    }
    assert "signature" in failed(await world.verify(stage.verifier, request, one))


async def test_a_presentation_of_another_definition_under_the_name_of_the_right_one(stage: Stage) -> None:
    world = stage.world
    request = await world.ask(stage.verifier, requested_attributes={"who": {"name": "name"}})
    shown = await world.show(stage.holder, request, stage.plain)
    request["requested_attributes"]["who"]["restrictions"] = [{"cred_def_id": stage.id}]
    shown["identifiers"][0] |= {"cred_def_id": stage.id}
    assert failed(await world.verify(stage.verifier, request, shown)) >= {"schema", "signature"}
    shown["identifiers"][0] |= {"schema_id": stage.schema.schema_id}
    assert "signature" in failed(await world.verify(stage.verifier, request, shown))


async def test_a_definition_that_is_not_the_one_named_is_nobodys(stage: Stage) -> None:
    world = stage.world
    fresh = World(stage.world.storage, stage.world.workers)
    fresh._tenants = world._tenants
    fresh.tampered = {resource_url(stage.id): b"{}"}
    request = await world.ask(stage.verifier, **stage.adult())
    shown = await world.show(stage.holder, request, stage.held)
    assert failed(await fresh.verify(stage.verifier, request, shown)) == {"issuer", "request", "signature"}


async def test_a_request_that_cannot_be_worked_with(stage: Stage) -> None:
    requests: tuple[dict[str, Any], ...] = (
        {},
        {"requested_attributes": {"a": {}}},
        {"requested_attributes": {"a": {"name": "x", "names": ["y"]}}},
        {"requested_attributes": {"a": {"name": "x", "restrictions": [{"$or": [{}]}]}}},
        {"requested_attributes": {"a": {"name": "x", "restrictions": {"$not": {}}}}},
        {"requested_attributes": {str(n): {"name": "x"} for n in range(101)}},
        {"requested_predicates": {"a": {"name": "x", "p_type": "==", "p_value": 1}}},
        {"requested_predicates": {"a": {"name": "x", "p_type": ">=", "p_value": "1"}}},
        {"requested_attributes": {"a": {"name": "x"}}, "non_revoked": {"from": "yesterday"}},
        {"requested_attributes": {"a\0b": {"name": "x"}}},
        {"requested_attributes": {"a": {"name": "x"}}, "nonce": "abc"},
    )
    for asked in requests:
        with pytest.raises(Problem) as refused:
            await stage.world.ask(stage.verifier, **asked)
        assert refused.value.code == "content-invalid"


async def test_the_nonce_of_a_proposal_is_not_taken_over(stage: Stage) -> None:
    proposal = await stage.world.ask(stage.holder, **stage.adult())
    request = await stage.world.proofs.request(stage.verifier.party, proposal, None)
    assert request.value["nonce"] != proposal["nonce"]
    assert request.value["requested_predicates"] == proposal["requested_predicates"]
