from __future__ import annotations

from typing import Any, get_args

import orjson
import pytest

from tests.unit.protocols.tables import cells
from tntcore.credentials.formats import Attribute, Draft
from tntcore.messaging.message import Message
from tntcore.messaging.problems import read_problem_report
from tntcore.protocols.credential_messages import Content
from tntcore.protocols.issue_credential import (
    MORE_AVAILABLE,
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

# RFC 0453's choreography (`credential-issuance.png`, the same in RFC 0036 and in 3.0), box by box and arrow by arrow,
# with the states that its text names. From its text are: problem reports in all states ("States": "can be used by
# either party"), and the offer that follows a request ("Offer Credential": "to negotiate the issuing following receipt
# of a `request-credential` message").
TABLE = """
issuer:              receive.proposal   send.offer  receive.request   send.credential    receive.ack  send.problem-report  receive.problem-report
start                proposal-received  offer-sent  request-received  -                  -            -                    -
proposal-received    -                  offer-sent  -                 -                  -            abandoned            abandoned
offer-sent           proposal-received  -           request-received  -                  -            abandoned            abandoned
request-received     -                  offer-sent  -                 credential-issued  -            abandoned            abandoned
credential-issued    -                  -           -                 -                  done         abandoned            abandoned
done                 -                  -           -                 -                  -            -                    -
abandoned            -                  -           -                 -                  -            -                    -
holder:              send.proposal      receive.offer   send.request  receive.credential   send.ack   send.problem-report  receive.problem-report
start                proposal-sent      offer-received  request-sent  -                    -          -                    -
proposal-sent        -                  offer-received  -             -                    -          abandoned            abandoned
offer-received       proposal-sent      -               request-sent  -                    -          abandoned            abandoned
request-sent         -                  offer-received  -             credential-received  -          abandoned            abandoned
credential-received  -                  -               -             -                    done       abandoned            abandoned
done                 -                  -               -             -                    -          -                    -
abandoned            -                  -               -             -                    -          -                    -
"""  # noqa: E501
CELLS = cells(TABLE)

ROLES: tuple[Role, ...] = get_args(Role)
STATES: tuple[State, ...] = get_args(State)
KINDS: tuple[MessageKind, ...] = get_args(MessageKind)
DIALECTS: list[tuple[str, Any]] = [
    ("https://didcomm.org/issue-credential/1.0", "v1"),
    ("did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/issue-credential/1.1", "v1"),
    ("https://didcomm.org/issue-credential/2.0", "v1"),
    ("https://didcomm.org/issue-credential/2.0", "v2"),
    ("https://didcomm.org/issue-credential/3.0", "v2"),
]


def test_the_table_is_whole() -> None:
    assert len(CELLS) == 2 * 7 * 7
    assert {name for _, _, name in CELLS} == set(get_args(Event))
    assert {state for _, state, _ in CELLS} == set(STATES)
    assert sum(bool(follows) for follows in CELLS.values()) == len(TRANSITIONS)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", get_args(Event))
def test_every_cell(role: Role, state: State, name: Event) -> None:
    """A role, a state or an event that the table does not have is impossible in it."""
    follows = CELLS.get((role, state, name), [])
    if follows:
        assert [move(role, state, name)] == follows
    else:
        with pytest.raises(OutOfTurn, match=f"a {role} in state {state} does not {name}"):
            move(role, state, name)


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
                    assert [move(role, state, name)] == follows
                except OutOfTurn:
                    assert not follows


def sample(prefix: str, version: Any, kind: MessageKind) -> dict[str, Any]:
    thread: Any = {"message_id": "m", "thid": "t", "version": version}
    if kind == "ack":
        return ack(prefix, **thread)
    if kind == "problem-report":
        return problem_report(prefix, code="issuance-abandoned", explain="no", **thread)
    return build(prefix, kind, attachments=[("a", Draft({"x": 1}, "f/x@v1"))], **thread)


def test_another_credential_only_where_the_issuer_said_there_is_more() -> None:
    """2.1 as it stood (RFC 0453, at 00487467): `more_available`."""
    again = {
        ("issuer", "credential-issued", "receive request"): "request-received",
        ("holder", "credential-received", "send request"): "request-sent",
    }
    assert again == MORE_AVAILABLE
    for (role, state, name), follows in MORE_AVAILABLE.items():
        assert move(role, state, name, more=True) == follows
        with pytest.raises(OutOfTurn):
            move(role, state, name)
    for (role, state, name), follows_always in TRANSITIONS.items():
        assert move(role, state, name, more=True) == follows_always
    with pytest.raises(OutOfTurn):
        move("issuer", "done", "receive request", more=True)


def test_who_begins() -> None:
    starts: tuple[MessageKind, ...] = ("propose", "offer", "request")
    assert [begins(kind, True) for kind in starts] == ["issuer", "holder", "issuer"]
    assert [begins(kind, False) for kind in starts] == ["holder", "issuer", "holder"]
    others: tuple[MessageKind, ...] = ("issue", "ack", "problem-report")
    for received in (False, True):
        for other in others:
            with pytest.raises(OutOfTurn):
                begins(other, received)
        for kind in starts:
            assert move(begins(kind, received), "start", event(kind, received=received))


def test_disclosed() -> None:
    assert set(PROTOCOLS) == {f"https://didcomm.org/issue-credential/{n}.0" for n in (1, 2, 3)}
    assert PROTOCOLS.items() <= ALL_PROTOCOLS.items()


PREVIEW = [Attribute("name", "Alice"), Attribute("photo", "aGk", "image/png")]
OFFER = Draft({"nonce": "1"}, "hlindy/cred-abstract@v2.0")
JWT = Draft("eyJh.eyJi.c2ln", "vc/jwt", "text/plain")


def test_offer_1() -> None:
    offer = build(
        "https://didcomm.org/issue-credential/1.1",
        "offer",
        message_id="m",
        thid="m",
        pthid="p",
        version="v1",
        attachments=[("ours", OFFER)],
        preview=PREVIEW,
        comment="here",
        expires_at=1_700_000_000_123,
    )
    assert offer == {
        "@type": "https://didcomm.org/issue-credential/1.1/offer-credential",
        "@id": "m",
        "~thread": {"thid": "m", "pthid": "p"},
        "comment": "here",
        "credential_preview": {
            "@type": "https://didcomm.org/issue-credential/1.0/credential-preview",
            "attributes": [
                {"name": "name", "value": "Alice"},
                {"name": "photo", "mime-type": "image/png", "value": "aGk"},
            ],
        },
        "offers~attach": [
            {"@id": "libindy-cred-offer-0", "mime-type": "application/json", "data": {"base64": "eyJub25jZSI6IjEifQ=="}}
        ],
        "~timing": {"expires_time": "2023-11-14T22:13:20.123Z"},
    }


def test_offer_2() -> None:
    offer = build(
        "did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/issue-credential/2.0",
        "offer",
        message_id="m",
        thid="t",
        version="v1",
        attachments=[("a", OFFER), ("b", JWT)],
        preview=PREVIEW[:1],
        goal_code="hire",
        replacement_id="7",
    )
    assert offer == {
        "@type": "did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/issue-credential/2.0/offer-credential",
        "@id": "m",
        "~thread": {"thid": "t"},
        "goal_code": "hire",
        "replacement_id": "7",
        "credential_preview": {
            "@type": "did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/issue-credential/2.0/credential-preview",
            "attributes": [{"name": "name", "value": "Alice"}],
        },
        "formats": [
            {"attach_id": "a", "format": "hlindy/cred-abstract@v2.0"},
            {"attach_id": "b", "format": "vc/jwt"},
        ],
        "offers~attach": [
            {"@id": "a", "mime-type": "application/json", "data": {"base64": "eyJub25jZSI6IjEifQ=="}},
            {"@id": "b", "mime-type": "text/plain", "data": {"base64": "ZXlKaC5leUppLmMybG4="}},
        ],
    }


def test_issue_3() -> None:
    issued = build(
        "https://didcomm.org/issue-credential/3.0",
        "issue",
        message_id="m",
        thid="t",
        pthid="p",
        version="v2",
        attachments=[("a", OFFER), ("b", JWT)],
        comment="here",
        please_ack=True,
        expires_at=1_700_000_000_123,
    )
    assert issued == {
        "id": "m",
        "type": "https://didcomm.org/issue-credential/3.0/issue-credential",
        "thid": "t",
        "pthid": "p",
        "please_ack": [""],
        "expires_time": 1_700_000_000,
        "body": {"comment": "here"},
        "attachments": [
            {
                "id": "a",
                "media_type": "application/json",
                "format": "hlindy/cred-abstract@v2.0",
                "data": {"json": {"nonce": "1"}},
            },
            {
                "id": "b",
                "media_type": "text/plain",
                "format": "vc/jwt",
                "data": {"base64": "ZXlKaC5leUppLmMybG4"},
            },
        ],
    }


def test_preview_3_has_a_body() -> None:
    offer = build(
        "https://didcomm.org/issue-credential/3.0", "offer", message_id="m", thid="m", version="v2", preview=PREVIEW
    )
    assert offer["body"]["credential_preview"] == {
        "type": "https://didcomm.org/issue-credential/3.0/credential-preview",
        "id": "m-preview",
        "body": {
            "attributes": [
                {"name": "name", "value": "Alice"},
                {"name": "photo", "media_type": "image/png", "value": "aGk"},
            ]
        },
    }


def test_a_proposal_of_1_has_a_filter_as_members() -> None:
    proposal = build(
        "https://didcomm.org/issue-credential/1.0",
        "propose",
        message_id="m",
        thid="m",
        version="v1",
        attachments=[("a", Draft({"cred_def_id": "C", "issuer_did": "D", "other": 1}, "hlindy/cred-filter@v2.0"))],
        preview=PREVIEW[:1],
        schema_id="S",
    )
    assert proposal == {
        "@type": "https://didcomm.org/issue-credential/1.0/propose-credential",
        "@id": "m",
        "~thread": {"thid": "m"},
        "schema_id": "S",
        "cred_def_id": "C",
        "issuer_did": "D",
        "credential_proposal": {
            "@type": "https://didcomm.org/issue-credential/1.0/credential-preview",
            "attributes": [{"name": "name", "value": "Alice"}],
        },
    }
    said = content(proposal)
    assert said.members == {"schema_id": "S", "cred_def_id": "C", "issuer_did": "D"}
    assert (list(said.preview), said.attachments) == (PREVIEW[:1], ())


@pytest.mark.parametrize(
    ("said", "multiple", "more"),
    [(3, 3, 3), ("4", 4, 4), (-1, 1, 0), (True, 1, 0), ("x", 1, 0), ("9" * 10, 1, 0), (0, 1, 0), (1.5, 1, 0)],
)
def test_several_credentials(said: Any, multiple: int, more: int) -> None:
    thread: Any = {"message_id": "m", "thid": "t", "version": "v1", "attachments": [("a", OFFER)]}
    prefix = "https://didcomm.org/issue-credential/2.1"
    assert content(build(prefix, "offer", multiple_available=said, **thread)).multiple_available == multiple
    assert content(build(prefix, "issue", more_available=said, **thread)).more_available == more


def content(built: dict[str, Any]) -> Content:
    message = Message.read(orjson.dumps(built))
    step = read_step(message)
    assert step is not None
    return read(message, step)


def test_ends() -> None:
    assert ack("https://didcomm.org/issue-credential/1.0", message_id="m", thid="t", pthid="p", version="v1") == {
        "@type": "https://didcomm.org/issue-credential/1.0/ack",
        "@id": "m",
        "~thread": {"thid": "t", "pthid": "p"},
        "status": "OK",
    }
    assert ack("https://didcomm.org/issue-credential/3.0", message_id="m", thid="t", version="v2") == {
        "id": "m",
        "type": "https://didcomm.org/issue-credential/3.0/ack",
        "thid": "t",
        "body": {"status": "OK"},
    }
    why: Any = {"message_id": "m", "thid": "t", "code": "issuance-abandoned", "explain": "no"}
    for prefix, version in DIALECTS:
        built = problem_report(prefix, version=version, **why)
        report = read_problem_report(Message.read(orjson.dumps(built)))
        assert report is not None
        assert report.comment == "no"
        assert report.code == ("e.p.issuance-abandoned" if prefix.endswith("3.0") else "issuance-abandoned")
    assert problem_report("https://didcomm.org/issue-credential/2.0", version="v1", **why) == {
        "@type": "https://didcomm.org/issue-credential/2.0/problem-report",
        "@id": "m",
        "~thread": {"thid": "t"},
        "description": {"en": "no", "code": "issuance-abandoned"},
    }
    assert problem_report("https://didcomm.org/issue-credential/3.0", version="v2", **why) == {
        "id": "m",
        "type": "https://didcomm.org/report-problem/2.0/problem-report",
        "pthid": "t",
        "body": {"code": "e.p.issuance-abandoned", "comment": "no"},
    }


def test_3_in_the_shape_of_v1_is_not_built() -> None:
    with pytest.raises(ValueError, match="DIDComm v2 only"):
        build("https://didcomm.org/issue-credential/3.0", "offer", message_id="m", thid="t", version="v1")
    with pytest.raises(ValueError, match="no protocol and version"):
        ack("https://didcomm.org/issue-credential/4.0", message_id="m", thid="t", version="v2")
