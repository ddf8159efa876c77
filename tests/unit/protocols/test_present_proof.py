from __future__ import annotations

from typing import Any, get_args

import orjson
import pytest

from tests.unit.protocols.tables import cells
from tntcore.credentials.formats import Draft
from tntcore.messaging.message import Message
from tntcore.protocols.present_proof import (
    PROTOCOLS,
    TRANSITIONS,
    Event,
    MessageKind,
    Role,
    State,
    ack,
    begins,
    build,
    event,
    move,
    problem_report,
    read,
    read_step,
)
from tntcore.protocols.registry import PROTOCOLS as ALL_PROTOCOLS
from tntcore.protocols.transition import OutOfTurn

# RFC 0454's table (`present-proof-states.png`, the same in 3.0), cell by cell; `-` is "impossible". Of two states the
# second is the one without an acknowledgement. The rows `done` are empty in the RFC: the state is terminal.
TABLE = """
verifier:              send.request  receive.proposal   receive.presentation        send.ack  send.problem-report  receive.problem-report
start                  request-sent  proposal-received  -                           -         -                    -
request-sent           request-sent  proposal-received  presentation-received|done  -         -                    abandoned
proposal-received      request-sent  -                  -                           -         abandoned            abandoned
presentation-received  -             -                  -                           done      abandoned            abandoned
abandoned              -             -                  -                           -         -                    -
done                   -             -                  -                           -         -                    -
prover:                receive.request   send.proposal  send.presentation       receive.ack   send.problem-report  receive.problem-report
start                  request-received  proposal-sent  -                       -             -                    -
request-received       -                 proposal-sent  presentation-sent|done  -             abandoned            abandoned
proposal-sent          request-received  -              -                       -             abandoned            abandoned
presentation-sent      -                 -              -                       done          -                    abandoned
abandoned              -                 -              -                       -             -                    -
done                   -                 -              -                       -             -                    -
"""  # noqa: E501
# What the table leaves out, and the RFC has elsewhere: "Either party may send a `problem-report` message earlier in the
# flow" ("Problem Report"); and a second request, which the verifier's table sends, is received.
BEYOND = {
    ("verifier", "request-sent", "send problem-report"): ["abandoned"],
    ("prover", "presentation-sent", "send problem-report"): ["abandoned"],
    ("prover", "request-received", "receive request"): ["request-received"],
}
TABLE_CELLS = cells(TABLE)
CELLS = {**TABLE_CELLS, **BEYOND}

ROLES: tuple[Role, ...] = get_args(Role)
STATES: tuple[State, ...] = get_args(State)
KINDS: tuple[MessageKind, ...] = get_args(MessageKind)
DIALECTS = [
    ("https://didcomm.org/present-proof/1.0", "v1"),
    ("did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/present-proof/1.0", "v1"),
    ("https://didcomm.org/present-proof/2.0", "v1"),
    ("https://didcomm.org/present-proof/2.2", "v2"),
    ("https://didcomm.org/present-proof/3.0", "v2"),
]


def test_the_table_is_whole() -> None:
    assert len(TABLE_CELLS) == 2 * 6 * 6
    assert {name for _, _, name in CELLS} == set(get_args(Event))
    assert {state for _, state, _ in CELLS} == set(STATES)
    assert not any(TABLE_CELLS[cell] for cell in BEYOND)
    assert sum(bool(follows) for follows in CELLS.values()) == len(TRANSITIONS)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", get_args(Event))
@pytest.mark.parametrize("confirm", [True, False])
def test_every_cell(role: Role, state: State, name: Event, confirm: bool) -> None:
    """A role, a state or an event that the table does not have is impossible in it."""
    follows = CELLS.get((role, state, name), [])
    if follows:
        assert move(role, state, name, confirm=confirm) == follows[0 if confirm else -1]
    else:
        with pytest.raises(OutOfTurn, match=f"a {role} in state {state} does not {name}"):
            move(role, state, name, confirm=confirm)


@pytest.mark.parametrize(("prefix", "version"), DIALECTS)
@pytest.mark.parametrize("role", ROLES)
def test_every_message_in_every_state(prefix: str, version: Any, role: Role) -> None:
    for kind in KINDS:
        step = read_step(Message.read(orjson.dumps(sample(prefix, version, kind))))
        if kind == "problem-report" and prefix.endswith("3.0"):
            assert step is None  # DIDComm v2's own
            continue
        assert step is not None
        assert (step.prefix, step.kind) == (prefix, kind)
        for state in STATES:
            for received in (False, True):
                name = event(step.kind, received=received)
                follows = CELLS.get((role, state, name), [])
                try:
                    assert move(role, state, name) == follows[0]
                except OutOfTurn:
                    assert not follows


def sample(prefix: str, version: Any, kind: MessageKind) -> dict[str, Any]:
    thread: Any = {"message_id": "m", "thid": "t", "version": version}
    if kind == "ack":
        return ack(prefix, **thread)
    if kind == "problem-report":
        return problem_report(prefix, code="abandoned", explain="no", **thread)
    if kind == "propose":
        return build(prefix, kind, **thread)
    return build(prefix, kind, attachments=[("a", Draft({"x": 1}, "f/x@v1"))], **thread)


def test_presentations_that_are_not_the_last() -> None:
    """2.1 as it stood (RFC 0454, at 00487467): the verifier stays in `request-sent`."""
    for confirm in (True, False):
        assert move("verifier", "request-sent", "receive presentation", confirm=confirm, last=False) == "request-sent"
        assert move("prover", "request-received", "send presentation", confirm=confirm, last=False) == (
            "request-received"
        )
        with pytest.raises(OutOfTurn):
            move("verifier", "done", "receive presentation", confirm=confirm, last=False)
        with pytest.raises(OutOfTurn):
            move("verifier", "presentation-received", "receive presentation", confirm=confirm, last=False)


def test_who_begins() -> None:
    assert [begins("propose", True), begins("request", True)] == ["verifier", "prover"]
    assert [begins("propose", False), begins("request", False)] == ["prover", "verifier"]
    others: tuple[MessageKind, ...] = ("present", "ack", "problem-report")
    for other in others:
        for received in (False, True):
            with pytest.raises(OutOfTurn):
                begins(other, received)
    starts: tuple[MessageKind, ...] = ("propose", "request")
    for kind in starts:
        for received in (False, True):
            assert move(begins(kind, received), "start", event(kind, received=received))


def test_disclosed() -> None:
    assert set(PROTOCOLS) == {f"https://didcomm.org/present-proof/{n}.0" for n in (1, 2, 3)}
    assert PROTOCOLS.items() <= ALL_PROTOCOLS.items()


REQUEST = Draft({"nonce": "1"}, "hlindy/proof-req@v2.0")


def test_request_1() -> None:
    request = build(
        "https://didcomm.org/present-proof/1.0",
        "request",
        message_id="m",
        thid="m",
        version="v1",
        attachments=[("ours", REQUEST)],
    )
    assert request == {
        "@type": "https://didcomm.org/present-proof/1.0/request-presentation",
        "@id": "m",
        "~thread": {"thid": "m"},
        "request_presentations~attach": [
            {
                "@id": "libindy-request-presentation-0",
                "mime-type": "application/json",
                "data": {"base64": "eyJub25jZSI6IjEifQ=="},
            }
        ],
    }


def test_request_2() -> None:
    request = build(
        "https://didcomm.org/present-proof/2.0",
        "request",
        message_id="m",
        thid="m",
        version="v1",
        attachments=[("a", REQUEST)],
        present_multiple=True,
    )
    assert request == {
        "@type": "https://didcomm.org/present-proof/2.0/request-presentation",
        "@id": "m",
        "~thread": {"thid": "m"},
        "present_multiple": True,
        "will_confirm": True,
        "formats": [{"attach_id": "a", "format": "hlindy/proof-req@v2.0"}],
        "request_presentations~attach": [
            {"@id": "a", "mime-type": "application/json", "data": {"base64": "eyJub25jZSI6IjEifQ=="}}
        ],
    }


def test_presentation_3() -> None:
    presentation = build(
        "https://didcomm.org/present-proof/3.0",
        "present",
        message_id="m",
        thid="t",
        version="v2",
        attachments=[("a", Draft({"proof": 1}, "hlindy/proof@v2.0"))],
        last_presentation=False,
    )
    assert presentation == {
        "id": "m",
        "type": "https://didcomm.org/present-proof/3.0/presentation",
        "thid": "t",
        "body": {"last_presentation": False},
        "attachments": [
            {
                "id": "a",
                "media_type": "application/json",
                "format": "hlindy/proof@v2.0",
                "data": {"json": {"proof": 1}},
            }
        ],
    }


def test_a_proposal_of_1_has_a_preview() -> None:
    attributes = [{"name": "name", "cred_def_id": "C", "value": "Alice", "referent": "0"}]
    predicates = [{"name": "age", "cred_def_id": "C", "predicate": ">=", "threshold": 18}]
    proposal = build(
        "https://didcomm.org/present-proof/1.0",
        "propose",
        message_id="m",
        thid="m",
        version="v1",
        attributes=attributes,
        predicates=predicates,
    )
    assert proposal == {
        "@type": "https://didcomm.org/present-proof/1.0/propose-presentation",
        "@id": "m",
        "~thread": {"thid": "m"},
        "presentation_proposal": {
            "@type": "https://didcomm.org/present-proof/1.0/presentation-preview",
            "attributes": attributes,
            "predicates": predicates,
        },
    }
    message = Message.read(orjson.dumps(proposal))
    step = read_step(message)
    assert step is not None
    assert read(message, step).members == {"attributes": attributes, "predicates": predicates}
    with pytest.raises(ValueError, match="not attachments"):
        build(
            "https://didcomm.org/present-proof/1.0",
            "propose",
            message_id="m",
            thid="m",
            version="v1",
            attachments=[("a", REQUEST)],
        )


def content(built: dict[str, Any]) -> Any:
    message = Message.read(orjson.dumps(built))
    step = read_step(message)
    assert step is not None
    return read(message, step)


@pytest.mark.parametrize(("said", "means"), [(True, True), (False, False), (None, False), ("true", False), (1, False)])
def test_confirmation(said: Any, means: bool) -> None:
    thread: Any = {"message_id": "m", "thid": "m", "version": "v1", "attachments": [("a", REQUEST)]}
    request = build("https://didcomm.org/present-proof/2.0", "request", **thread, will_confirm=said)
    assert content(request).will_confirm is means
    request = build("https://didcomm.org/present-proof/1.0", "request", **thread, will_confirm=said)
    assert content(request).will_confirm is True


def test_several_presentations() -> None:
    thread: Any = {"message_id": "m", "thid": "m", "version": "v1", "attachments": [("a", REQUEST)]}
    prefix = "https://didcomm.org/present-proof/2.1"
    assert content(build(prefix, "request", **thread)).present_multiple is False
    assert content(build(prefix, "request", **thread, present_multiple=True)).present_multiple is True
    assert content(build(prefix, "present", **thread)).last_presentation is True
    assert content(build(prefix, "present", **thread, last_presentation=False)).last_presentation is False
    assert content(build(prefix, "present", **thread, last_presentation=0)).last_presentation is True
