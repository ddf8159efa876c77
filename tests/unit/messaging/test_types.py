import pytest
from hypothesis import given
from hypothesis import strategies as st

from tntcore.messaging.types import (
    DID_SOV,
    DIDCOMM_ORG,
    MessageType,
    canonical,
    in_prefix_of,
    parse,
    prefixes,
    spellings,
)

REST = "issue-credential/2.0/offer-credential"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DIDCOMM_ORG + REST, MessageType(DIDCOMM_ORG, "issue-credential", 2, 0, "offer-credential")),
        (DID_SOV + REST, MessageType(DID_SOV, "issue-credential", 2, 0, "offer-credential")),
        (
            DIDCOMM_ORG + "didexchange/1.1/problem_report",
            MessageType(DIDCOMM_ORG, "didexchange", 1, 1, "problem_report"),
        ),
        (
            "https://example.com/a/b/lets_do.lunch/10.9.3/p",
            MessageType("https://example.com/a/b/", "lets_do.lunch", 10, 9, "p"),
        ),
        (DIDCOMM_ORG + "x/2/y", MessageType(DIDCOMM_ORG, "x", 2, 0, "y")),
        ("request-credential", None),
        ("", None),
        ("x/1.0/y", None),
        (DIDCOMM_ORG + "x/1.0/", None),
        (DIDCOMM_ORG + "x/1.0/y\n", None),
        (DIDCOMM_ORG + "x/one/y", None),
        (DIDCOMM_ORG + "x/1." + "9" * 5000 + "/y", None),
        (DIDCOMM_ORG + "x/١.٠/y", None),
    ],
)
def test_parse(text: str, expected: MessageType | None) -> None:
    assert parse(text) == expected


def test_version_text() -> None:
    parsed = parse(DIDCOMM_ORG + "x/10.2/y")
    assert parsed is not None
    assert parsed.version == "10.2"


def test_the_two_prefixes_mean_the_same() -> None:
    assert spellings(DIDCOMM_ORG + REST) == (DIDCOMM_ORG + REST, DID_SOV + REST)
    assert spellings(DID_SOV + REST) == (DID_SOV + REST, DIDCOMM_ORG + REST)
    assert spellings("request-credential") == ("request-credential",)
    assert canonical(DID_SOV + REST) == canonical(DIDCOMM_ORG + REST) == DIDCOMM_ORG + REST
    assert canonical("request-credential") == "request-credential"


@pytest.mark.parametrize(
    ("message_type", "like", "expected"),
    [
        (DIDCOMM_ORG + "x/1.0/y", DID_SOV + REST, DID_SOV + "x/1.0/y"),
        (DIDCOMM_ORG + "x/1.0/y", DIDCOMM_ORG + REST, DIDCOMM_ORG + "x/1.0/y"),
        (DID_SOV + "x/1.0/y", DIDCOMM_ORG + REST, DIDCOMM_ORG + "x/1.0/y"),
        (DIDCOMM_ORG + "x/1.0/y", "request-credential", DIDCOMM_ORG + "x/1.0/y"),
        ("https://example.com/x/1.0/y", DID_SOV + REST, "https://example.com/x/1.0/y"),
    ],
)
def test_answer_in_the_prefix_received(message_type: str, like: str, expected: str) -> None:
    assert in_prefix_of(message_type, like) == expected


@given(
    st.text(max_size=60) | st.builds("".join, st.tuples(st.sampled_from([DIDCOMM_ORG, DID_SOV]), st.text(max_size=40)))
)
def test_every_spelling_has_one_canonical_form(text: str) -> None:
    assert spellings(text)[0] == text
    assert {canonical(spelling) for spelling in spellings(text)} == {canonical(text)}
    assert canonical(canonical(text)) == canonical(text)
    for spelling in spellings(text):
        assert in_prefix_of(canonical(text), spelling) == spelling
        assert set(spellings(spelling)) == set(spellings(text))


def test_beginnings_in_either_spelling() -> None:
    assert prefixes(DIDCOMM_ORG + "issue") == (DIDCOMM_ORG + "issue", DID_SOV + "issue")
    assert prefixes(DID_SOV + "issue") == (DID_SOV + "issue", DIDCOMM_ORG + "issue")
    for beginning in ("h", "https://didcomm.org", DIDCOMM_ORG):
        assert prefixes(beginning) == (beginning, DID_SOV)
    assert prefixes("did:sov:B") == ("did:sov:B", DIDCOMM_ORG)
    assert prefixes("https://example.com/") == ("https://example.com/",)
    assert prefixes("request") == ("request",)
