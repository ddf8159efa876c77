from __future__ import annotations

from typing import Any, get_args

import orjson
import pytest

from tntcore.messaging.message import Message
from tntcore.messaging.problems import read_problem_report
from tntcore.messaging.types import DID_SOV, DIDCOMM_ORG
from tntcore.protocols.did_exchange import (
    CONNECTIONS_1_0,
    DID_EXCHANGE_1_0,
    DID_EXCHANGE_1_1,
    RETRY_CODES,
    SUPPORTED,
    Event,
    HandshakeStep,
    Role,
    State,
    may_retry,
    move,
    problem_report,
    read_step,
)
from tntcore.protocols.transition import OutOfTurn

# The state machine tables of RFC 0023 (`did-exchange-states.png`), cell by cell; `-` is "impossible", and of two states
# the first is the one from which the exchange may be taken up again. The row `completed` is empty in the RFC: the state
# is terminal.
TABLE = """
requester            invitation           send-request  receive-response   send-complete  receive-problem-report         send-problem-report
start                invitation-received  -             -                  -              -                              -
invitation-received  -                    request-sent  -                  -              -                              start|abandoned
request-sent         -                    -             response-received  -              invitation-received|abandoned  -
response-received    -                    -             -                  completed      -                              request-sent|abandoned
abandoned            -                    -             -                  -              -                              -
completed            -                    -             -                  -              -                              -
responder            invitation           receive-request   send-response  receive-complete  receive-problem-report      send-problem-report
start                invitation-sent      -                 -              -                 -                           -
invitation-sent      -                    request-received  -              -                 start|abandoned             -
request-received     -                    -                 response-sent  -                 -                           invitation-sent|abandoned
response-sent        -                    -                 -              completed         request-received|abandoned  -
abandoned            -                    -                 -              -                 -                           -
completed            -                    -                 -              -                 -                           -
"""  # noqa: E501


def cells() -> dict[tuple[str, str, str], list[str]]:
    """The states that may follow, by role, state and event."""
    read: dict[tuple[str, str, str], list[str]] = {}
    role, events = "", []
    for line in TABLE.strip().splitlines():
        name, *entries = line.split()
        if name in get_args(Role):
            role = name
            events = [entry.replace("-", " ", 1) if entry != "invitation" else entry for entry in entries]
            continue
        for event, entry in zip(events, entries, strict=True):
            read[role, name, event] = [] if entry == "-" else entry.split("|")
    return read


CELLS = cells()


def test_the_table_is_whole() -> None:
    assert len(CELLS) == 2 * 6 * 6
    assert {event for _, _, event in CELLS} == set(get_args(Event))
    assert {state for _, state, _ in CELLS} == set(get_args(State))
    assert sum(bool(outcomes) for outcomes in CELLS.values()) == 14


@pytest.mark.parametrize("role", get_args(Role))
@pytest.mark.parametrize("state", get_args(State))
@pytest.mark.parametrize("event", get_args(Event))
def test_every_cell(role: Role, state: State, event: Event) -> None:
    """A role, a state or an event that a table does not have is impossible in it."""
    outcomes = CELLS.get((role, state, event), [])
    for retry in (False, True):
        if not outcomes:
            with pytest.raises(OutOfTurn):
                move(role, state, event, retry=retry)
        else:
            assert move(role, state, event, retry=retry) == outcomes[0 if retry else -1]


def test_no_role_and_no_state_of_anything_else() -> None:
    for role, state in (("", "start"), ("inviter", "start"), ("requester", ""), ("responder", "null")):
        for event in get_args(Event):
            with pytest.raises(OutOfTurn):
                move(role, state, event)


def message(**fields: Any) -> Message:
    return Message.read(orjson.dumps(fields))


@pytest.mark.parametrize("root", [DIDCOMM_ORG, DID_SOV])
@pytest.mark.parametrize(
    ("rest", "protocol", "kind"),
    [
        ("didexchange/1.0/request", DID_EXCHANGE_1_0, "request"),
        ("didexchange/1.0/response", DID_EXCHANGE_1_0, "response"),
        ("didexchange/1.0/complete", DID_EXCHANGE_1_0, "complete"),
        ("didexchange/1.0/problem_report", DID_EXCHANGE_1_0, "problem-report"),
        ("didexchange/1.1/problem-report", DID_EXCHANGE_1_1, "problem-report"),
        ("didexchange/1.1/request", DID_EXCHANGE_1_1, "request"),
        ("didexchange/1.7/complete", DID_EXCHANGE_1_1, "complete"),
        ("connections/1.0/request", CONNECTIONS_1_0, "request"),
        ("connections/1.0/response", CONNECTIONS_1_0, "response"),
        ("connections/1.0/problem_report", CONNECTIONS_1_0, "problem-report"),
    ],
)
def test_steps(root: str, rest: str, protocol: str, kind: Any) -> None:
    step = read_step(message(**{"@type": root + rest}))
    assert step == HandshakeStep(protocol, (root + rest).rpartition("/")[0], kind)


@pytest.mark.parametrize(
    "type_",
    [
        "https://didcomm.org/connections/1.0/complete",  # it has none
        "https://didcomm.org/didexchange/1.1/hello",
        "https://didcomm.org/didexchange/2.0/request",
        "https://didcomm.org/didexchange/request",
        "https://didcomm.org/connections/2.0/request",
        "https://didcomm.org/out-of-band/1.1/request",
        "didexchange/1.1/request",
        "request",
        "",
        # Another's protocol, whatever its name: a general message.
        "https://example.com/didexchange/1.1/request",
        "https://example.com/connections/1.0/response",
        "https://example.com/connections/1.0/problem_report",
        "https://didcomm.org/custom/didexchange/1.0/complete",
    ],
)
def test_what_is_no_step(type_: str) -> None:
    assert read_step(message(**{"@type": type_})) is None


def test_v2_has_no_did_exchange() -> None:
    assert read_step(message(id="1", type=f"{DID_EXCHANGE_1_1}/request", body={})) is None
    v2 = Message.read(orjson.dumps({"@type": f"{DID_EXCHANGE_1_1}/request"}), "v2")
    assert read_step(v2) is None


@pytest.mark.parametrize("protocol", SUPPORTED)
def test_the_codes_that_leave_the_exchange_open(protocol: str) -> None:
    named = {
        "request_not_accepted",
        "request_processing_error",
        "response_not_accepted",
        "response_processing_error",
    }
    assert set(RETRY_CODES) == named
    type_ = f"{protocol}/problem_report"
    for code in named:
        assert may_retry(message(**{"@type": type_, "problem-code": code}))
        assert may_retry(message(**{"@type": type_, "description": {"code": code, "en": "No."}}))
    for other in (
        {},
        {"problem-code": "abandoned"},
        {"problem-code": ["request_not_accepted"]},
        {"problem-code": None},
    ):
        assert not may_retry(message(**{"@type": type_, **other}))
    assert not may_retry(message(**{"@type": f"{protocol}/complete", "problem-code": "request_not_accepted"}))


@pytest.mark.parametrize("protocol", SUPPORTED)
@pytest.mark.parametrize("code", sorted(RETRY_CODES))
def test_a_report_of_ours_is_read_as_it_was_meant(protocol: str, code: str) -> None:
    made = message(**problem_report(protocol, message_id="1", thid="t", code=code, explain="No."))
    step, report = read_step(made), read_problem_report(made)
    assert step is not None
    assert report is not None
    assert (step.kind, made.thid, report.code, report.comment) == ("problem-report", "t", code, "No.")
    assert made.fields["problem-code"] == code
    assert may_retry(made)
