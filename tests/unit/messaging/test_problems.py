from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tntcore.messaging.message import Message
from tntcore.messaging.problems import ack_status, is_ack, is_problem_report, read_problem_report
from tntcore.messaging.types import DID_SOV, DIDCOMM_ORG


def read(value: Any) -> Message:
    return Message.read(orjson.dumps(value))


@pytest.mark.parametrize("prefix", [DIDCOMM_ORG, DID_SOV])
@pytest.mark.parametrize(
    "rest",
    [
        "report-problem/1.0/problem-report",
        "report-problem/2.0/problem-report",
        "notification/1.0/problem-report",
        "didexchange/1.0/problem_report",
        "didexchange/1.1/problem-report",
        "issue-credential/2.0/problem-report",
    ],
)
def test_problem_report_types(prefix: str, rest: str) -> None:
    assert is_problem_report(prefix + rest)
    assert not is_ack(prefix + rest)


@pytest.mark.parametrize("rest", ["notification/1.0/ack", "issue-credential/1.0/ack", "present-proof/2.0/ack"])
def test_ack_types(rest: str) -> None:
    assert is_ack(DIDCOMM_ORG + rest)
    assert is_ack(DID_SOV + rest)
    assert not is_problem_report(DIDCOMM_ORG + rest)


@pytest.mark.parametrize("message_type", ["", "ack", "problem-report", "https://didcomm.org/ack/1.0/ping"])
def test_other_types_are_neither(message_type: str) -> None:
    assert not is_ack(message_type)
    assert not is_problem_report(message_type)


@pytest.mark.parametrize(
    ("fields", "code", "comment", "items"),
    [
        (
            {
                "@type": DIDCOMM_ORG + "report-problem/1.0/problem-report",
                "description": {"code": "cannot-deliver", "de": "geht nicht", "en": "cannot"},
                "problem_items": [{"a": "b"}],
            },
            "cannot-deliver",
            "cannot",
            ({"a": "b"},),
        ),
        (
            {
                "type": DIDCOMM_ORG + "report-problem/2.0/problem-report",
                "id": "i",
                "body": {"code": "e.p.xfer", "comment": "Unable to use {1}", "args": ["x"]},
            },
            "e.p.xfer",
            "Unable to use {1}",
            ("x",),
        ),
        (
            {
                "@type": DID_SOV + "didexchange/1.0/problem_report",
                "problem-code": "request_not_accepted",
                "explain": "no",
            },
            "request_not_accepted",
            "no",
            (),
        ),
        ({"@type": DIDCOMM_ORG + "notification/1.0/problem-report", "description": "plain"}, "", "plain", ()),
        ({"@type": DIDCOMM_ORG + "notification/1.0/problem-report", "description": {"code": 7}}, "", "", ()),
    ],
)
def test_reading(fields: dict[str, Any], code: str, comment: str, items: tuple[Any, ...]) -> None:
    report = read_problem_report(read(fields))
    assert report is not None
    assert (report.code, report.comment, report.items) == (code, comment, items)


def test_no_report() -> None:
    assert read_problem_report(read({"@type": DIDCOMM_ORG + "notification/1.0/ack"})) is None
    assert read_problem_report(Message.read(b"x")) is None


@pytest.mark.parametrize(("status", "expected"), [("OK", "OK"), ("FAIL", "FAIL"), (None, ""), (["OK"], "")])
def test_ack_status(status: Any, expected: str) -> None:
    assert ack_status(read({"@type": DIDCOMM_ORG + "notification/1.0/ack", "status": status})) == expected


ANY = (
    st.none()
    | st.integers(0, 9)
    | st.text(max_size=5)
    | st.lists(st.text(max_size=3))
    | st.dictionaries(st.sampled_from(["code", "en"]), st.none() | st.text(max_size=5))
)


@given(st.dictionaries(st.sampled_from(["description", "problem", "comment", "explain", "problem_items", "code"]), ANY))
def test_no_report_is_too_strange_to_read(fields: dict[str, Any]) -> None:
    report = read_problem_report(read({"@type": DIDCOMM_ORG + "report-problem/1.0/problem-report", **fields}))
    assert report is not None
    assert isinstance(report.code, str)
    assert isinstance(report.comment, str)
