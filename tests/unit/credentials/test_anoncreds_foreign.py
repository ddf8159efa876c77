"""Attachments as ACA-Py 1.2.7 wrote them, in the protocols' versions 1.0 (which name no format) and 2.0."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import anoncreds
import orjson
import pytest

from tntcore.credentials.anoncreds.common import encode
from tntcore.credentials.anoncreds.credential import AnonCreds
from tntcore.credentials.anoncreds.proof import AnonCredsProof
from tntcore.credentials.anoncreds.registry import is_unqualified
from tntcore.credentials.anoncreds.request import Interval, read_request, request_of_preview
from tntcore.credentials.anoncreds.shown import read_presentation, summary_of, wrong_numbers
from tntcore.credentials.formats import CredentialStep, FormatError, ProofStep

VECTORS = Path(__file__).parents[2] / "vectors" / "credentials" / "acapy-1.2.7-anoncreds.json"
SEEN: dict[str, dict[str, Any]] = orjson.loads(VECTORS.read_bytes())
CREDENTIAL_STEPS: tuple[CredentialStep, ...] = ("offer", "request", "issue")
PROOF_STEPS: tuple[ProofStep, ...] = ("request", "present")
DEFINITION = "4fUDR9R7fjwELRvH9JT6HH:3:CL:11:default"


def test_credential_attachments_are_known_by_their_shape() -> None:
    def known(value: Any) -> list[str]:
        reads = AnonCreds.reads
        return [step for step in ("propose", *CREDENTIAL_STEPS) if reads(None, step, value)]  # type: ignore[arg-type]

    for flow in ("issue-credential-1.0", "issue-credential-2.0"):
        for step in CREDENTIAL_STEPS:
            assert known(SEEN[flow][step]["value"]) == [step]
    assert known({"cred_def_id": DEFINITION}) == ["propose"]
    others: tuple[Any, ...] = ({}, [], None, "x", {"credential": {"@context": []}}, {"cred_def_id": "x", "other": 1})
    assert all(known(other) == [] for other in others)


def test_proof_attachments_are_known_by_their_shape() -> None:
    def known(value: Any) -> list[str]:
        return [step for step in PROOF_STEPS if AnonCredsProof.reads(None, step, value)]  # type: ignore[arg-type]

    for flow in ("present-proof-1.0", "present-proof-1.0-self-attested", "present-proof-2.0"):
        for step in PROOF_STEPS:
            assert known(SEEN[flow][step]["value"]) == [step]
    others: tuple[Any, ...] = ({}, [], None, {"presentation_definition": {}}, {"proof": {}})
    assert all(known(other) == [] for other in others)


def test_identifiers_are_those_of_the_wire() -> None:
    for step in CREDENTIAL_STEPS:
        assert SEEN["issue-credential-2.0"][step]["format"] in AnonCreds.identifiers[step]
    for proof_step in PROOF_STEPS:
        assert SEEN["present-proof-2.0"][proof_step]["format"] in AnonCredsProof.identifiers[proof_step]


def test_the_library_reads_what_it_will_be_given() -> None:
    for flow in ("issue-credential-1.0", "issue-credential-2.0"):
        anoncreds.CredentialOffer.load(orjson.dumps(SEEN[flow]["offer"]["value"]))
        anoncreds.CredentialRequest.load(orjson.dumps(SEEN[flow]["request"]["value"]))
        loaded = anoncreds.Credential.load(orjson.dumps(SEEN[flow]["issue"]["value"]))
        assert loaded.cred_def_id == DEFINITION
    assert is_unqualified(DEFINITION)
    assert not is_unqualified(f"did:web:example.com/resources/{'0' * 64}")


def test_values_are_encoded_alike() -> None:
    values = SEEN["issue-credential-1.0"]["issue"]["value"]["values"]
    assert {name: encode(item["raw"]) for name, item in values.items()} == {
        name: item["encoded"] for name, item in values.items()
    }
    texts = ("", "0", "-5", "+5", "007", "2147483647", "2147483648", "-2147483648", "-2147483649", "1.0", "ä", " 1")
    numbers = anoncreds.encode_credential_attributes({f"a{n}": text for n, text in enumerate(texts)})
    assert [encode(text) for text in texts] == [numbers[f"a{n}"] for n in range(len(texts))]


def test_presentations_are_read_and_say_what_they_show() -> None:
    seen = SEEN["present-proof-1.0-self-attested"]
    request = read_request(seen["request"]["value"])
    shown = read_presentation(seen["present"]["value"], request)
    assert wrong_numbers(shown) == []
    summary = summary_of(request, shown, [{"issuer_id": "4fUDR9R7fjwELRvH9JT6HH"}])
    assert summary["claims"] == {"0_name_uuid": {"name": "Alice Smith"}}
    assert summary["selfAttested"] == {"0_self": {"nick": "Al"}}
    assert summary["predicates"] == {"0_age_GE_uuid": "age >= 18"}
    altered = copy.deepcopy(seen["present"]["value"])
    altered["requested_proof"]["revealed_attrs"]["0_name_uuid"]["raw"] = "Bob"
    assert wrong_numbers(read_presentation(altered, request)) == ["name"]


@pytest.mark.parametrize("group", ["self_attested_attrs", "revealed_attrs", "predicates", "ge_proofs"])
def test_a_presentation_answers_no_more_than_a_request_may_ask(group: str) -> None:
    """Each answer is compared with others: 60,000 predicates took over a second of the event loop."""
    seen = SEEN["present-proof-1.0-self-attested"]
    altered = copy.deepcopy(seen["present"]["value"])
    if group == "ge_proofs":
        primary = altered["proof"]["proofs"][0]["primary_proof"]
        primary[group] = primary[group][:1] * 101
    else:
        one = next(iter(altered["requested_proof"][group].values()))
        altered["requested_proof"][group] = {str(number): one for number in range(101)}
    with pytest.raises(FormatError, match=r"too many predicates|at most 100"):
        read_presentation(altered, read_request(seen["request"]["value"]))


@pytest.mark.parametrize(
    "asked",
    [
        {"names": ["name"] * 5_001},
        {"name": "name", "restrictions": [{"schema_name": "degree"}] * 5_000},
        {"name": "name", "restrictions": [{f"attr::name{' ' * number}::marker": "1" for number in range(5_000)}]},
    ],
    ids=["names", "restrictions", "tags"],
)
def test_a_request_asks_no_more_than_can_be_compared(asked: Any) -> None:
    """A verifier's request of 4 MB had 400,000 names, each compared with every credential of the holder."""
    with pytest.raises(FormatError, match="more than 5000"):
        read_request({"nonce": "1", "requested_attributes": {"a": asked}})


def test_a_proposals_preview_becomes_the_request_that_acapy_makes_of_it() -> None:
    seen = SEEN["present-proof-1.0"]
    made = request_of_preview(seen["propose"]["value"])
    theirs = seen["request"]["value"]
    for group in ("requested_attributes", "requested_predicates"):
        assert list(made[group].values()) == list(theirs[group].values())
    read_request({**made, "nonce": "1"})


def test_attributes_of_one_referent_come_from_one_credential() -> None:
    made = request_of_preview(
        {
            "attributes": [
                {"name": "name", "cred_def_id": DEFINITION, "referent": "0"},
                {"name": "degree", "cred_def_id": DEFINITION, "referent": "0"},
                {"name": "nick"},
            ],
            "predicates": [{"name": "age", "predicate": "<", "threshold": "65"}],
        }
    )
    assert list(made["requested_attributes"].values()) == [
        {"names": ["name", "degree"], "restrictions": [{"cred_def_id": DEFINITION}]},
        {"name": "nick"},
    ]
    assert list(made["requested_predicates"].values()) == [{"name": "age", "p_type": "<", "p_value": 65}]


@pytest.mark.parametrize(
    "preview",
    [
        None,
        {"attributes": {}},
        {"attributes": [{}]},
        {"attributes": [{"name": "a"}] * 101},
        {"predicates": [{"name": "a", "predicate": ">=", "threshold": "many"}]},
        {
            "attributes": [
                {"name": "a", "cred_def_id": "x", "referent": "0"},
                {"name": "b", "cred_def_id": "y", "referent": "0"},
            ]
        },
    ],
)
def test_previews_that_make_no_request(preview: Any) -> None:
    with pytest.raises(FormatError):
        request_of_preview(preview)


def test_an_interval_of_its_own_goes_before_that_of_the_request() -> None:
    request = read_request(
        {
            "nonce": "1",
            "requested_attributes": {
                "a": {"name": "a", "non_revoked": {"from": 5, "to": 9}},
                "b": {"name": "b"},
            },
            "non_revoked": {"to": 20},
        }
    )
    assert request.wanted["a"].interval == Interval(5, 9)
    assert request.wanted["b"].interval == Interval(0, 20)
    assert Interval(5, 9).meet(Interval(0, None)) == Interval(5, 9)
