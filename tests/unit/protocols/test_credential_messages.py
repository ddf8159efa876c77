"""What is read from the messages of issue-credential and present-proof: real ones, and such as an attacker writes."""

from __future__ import annotations

import base64
import contextlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tntcore.credentials.formats import Attribute, Draft, FormatError
from tntcore.messaging.compose import to_v2
from tntcore.messaging.message import Message
from tntcore.protocols import issue_credential, present_proof
from tntcore.protocols.credential_messages import Content, FormatAttachment, Step
from tntcore.protocols.transition import OutOfTurn

FLOWS: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "credentials" / "acapy-flows.json").read_text()
)
MESSAGES = [
    pytest.param(message, id=f"{name}-{number}")
    for name, messages in FLOWS.items()
    for number, message in enumerate(messages)
]
ISSUE = "https://didcomm.org/issue-credential/2.0"
PROOF = "https://didcomm.org/present-proof/2.0"


def message(fields: Any) -> Message:
    return Message.read(orjson.dumps(fields))


def protocol_of(received: Message) -> tuple[ModuleType, Step[Any]]:
    for protocol in (issue_credential, present_proof):
        step = protocol.read_step(received)
        if step is not None:
            return protocol, step
    raise AssertionError(f"nobody reads {received.type}")


def content(fields: Any) -> Content:
    received = message(fields)
    protocol, step = protocol_of(received)
    read: Content = protocol.read(received, step)
    return read


def rebuilt(received: Message, *, prefix: str = "", version: str = "v1") -> Any:
    """The message once more, from what was read of it."""
    protocol, step = protocol_of(received)
    prefix = prefix or step.prefix
    thread: Any = {
        "message_id": received.id,
        "thid": received.thid,
        "pthid": received.pthid or "",
        "version": version,
    }
    if step.kind == "ack":
        return protocol.ack(prefix, **thread)
    if step.kind == "problem-report":
        description = received.body["description"]
        return protocol.problem_report(prefix, code=description["code"], explain=description["en"], **thread)
    read = protocol.read(received, step)
    members = {**read.members, "comment": read.comment}
    if protocol is issue_credential:
        members["preview"] = read.preview
    return protocol.build(
        prefix,
        step.kind,
        attachments=[(one.id, Draft(one.value, one.format or "", one.mime_type)) for one in read.attachments],
        **members,
        **thread,
    )


def normal(fields: Any) -> Any:
    """A v1 message with its thread written out and its attachments read."""
    fields = {name: value for name, value in fields.items() if name != "~service"}
    fields["~thread"] = {"thid": fields["@id"], **fields.get("~thread", {})}
    for name, value in fields.items():
        if name.endswith("~attach"):
            fields[name] = [{**one, "data": decoded(one["data"])} for one in value]
    return fields


def decoded(data: Any) -> Any:
    return data["json"] if "json" in data else json.loads(base64.b64decode(data["base64"]))


@pytest.mark.parametrize("sent", MESSAGES)
def test_real_messages_are_read_and_written_the_same(sent: dict[str, Any]) -> None:
    assert normal(rebuilt(message(sent))) == normal(sent)


@pytest.mark.parametrize("sent", MESSAGES)
def test_real_messages_mean_the_same_in_v2_shape(sent: dict[str, Any]) -> None:
    """Converted, as well as built in that shape."""
    received = message(sent)
    completed = {**sent, "~thread": {"thid": received.thid}}
    converted = to_v2(completed, from_did="did:example:a", to_did="did:example:b", created_time=1)
    for again in (converted, rebuilt(received, version="v2")):
        assert protocol_of(message(again)) == protocol_of(received)
        assert message(again).thid == received.thid
        assert content(again) == content(sent)


@pytest.mark.parametrize("sent", MESSAGES)
def test_real_messages_of_2_mean_the_same_in_3(sent: dict[str, Any]) -> None:
    received = message(sent)
    _, step = protocol_of(received)
    if step.kind == "problem-report":
        return
    prefix = f"{step.prefix[:-3]}3.0"
    read = content(rebuilt(received, prefix=prefix, version="v2"))
    if step.dialect == "2.0":
        assert read == content(sent)
    else:
        assert [one.value for one in read.attachments] == [one.value for one in content(sent).attachments]


# What came before the first message of these was in an invitation, or is not kept.
BEFORE = {
    "acapy-1.7.0-oob-attach-issue-credential-2.0": {"holder": "offer-received", "issuer": "offer-sent"},
    "acapy-1.7.0-oob-attach-present-proof-2.0-connectionless": {
        "prover": "request-received",
        "verifier": "request-sent",
    },
    "acapy-1.7.0-issue-credential-2.0-vc_di-or-other": {"issuer": "proposal-received", "holder": "proposal-sent"},
}


@pytest.mark.parametrize("name", FLOWS)
def test_real_flows_are_in_turn(name: str) -> None:
    """Whoever may send what is sent, the other may receive it; and both come to an end."""
    protocol, step = protocol_of(message(FLOWS[name][0]))
    states = BEFORE.get(name) or {protocol.begins(step.kind, received): "start" for received in (False, True)}
    for sent in FLOWS[name]:
        _, step = protocol_of(message(sent))
        for sender in states:
            with contextlib.suppress(OutOfTurn):
                moved = {sender: protocol.move(sender, states[sender], protocol.event(step.kind, received=False))}
                break
        else:
            raise AssertionError((sent["@type"], states))
        for other in states.keys() - {sender}:
            moved[other] = protocol.move(other, states[other], protocol.event(step.kind, received=True))
        states = moved
    assert set(states.values()) in ({"done"}, {"abandoned"})


@pytest.mark.parametrize(
    ("type_", "shape", "expected"),
    [
        ("https://didcomm.org/issue-credential/1.1/propose-credential", "v1", ("1.0", "propose")),
        ("https://didcomm.org/issue-credential/2.7/issue-credential", "v1", ("2.0", "issue")),
        ("https://didcomm.org/issue-credential/2.0/problem_report", "v1", ("2.0", "problem-report")),
        ("https://didcomm.org/issue-credential/2/ack", "v1", ("2.0", "ack")),
        ("did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/present-proof/1.0/presentation", "v1", ("1.0", "present")),
        ("https://didcomm.org/present-proof/1.0/presentation", "v2", ("1.0", "present")),
        ("https://didcomm.org/present-proof/2.0/request-presentation", "v2", ("2.0", "request")),
        ("https://didcomm.org/present-proof/3.1/propose-presentation", "v2", ("3.0", "propose")),
        ("https://didcomm.org/present-proof/3.0/problem-report", "v2", ("3.0", "problem-report")),
        ("https://didcomm.org/present-proof/3.0/presentation", "v1", None),
        ("https://didcomm.org/present-proof/4.0/presentation", "v2", None),
        ("https://didcomm.org/present-proof/0.1/presentation", "v1", None),
        ("https://didcomm.org/present-proof/2.0/presentation-preview", "v1", None),
        ("https://didcomm.org/present-proof/2.0/issue-credential", "v1", None),
        ("https://example.com/present-proof/2.0/presentation", "v1", None),
        ("https://didcomm.org/notification/1.0/ack", "v1", None),
        ("https://didcomm.org/report-problem/2.0/problem-report", "v2", None),
        ("request-credential", "v1", None),
        ("", "v1", None),
    ],
)
def test_steps(type_: str, shape: str, expected: tuple[str, str] | None) -> None:
    received = message({"@type": type_, "@id": "m"} if shape == "v1" else {"type": type_, "id": "m"})
    steps = [protocol.read_step(received) for protocol in (issue_credential, present_proof)]
    found = [step for step in steps if step is not None]
    if expected is None:
        assert not found
    else:
        assert [(step.dialect, step.kind, step.prefix) for step in found] == [(*expected, type_.rpartition("/")[0])]


def offer(*data: Any, **members: Any) -> dict[str, Any]:
    attached = [{"@id": str(n), "data": one} for n, one in enumerate(data)]
    return {"@type": f"{ISSUE}/offer-credential", "@id": "m", "offers~attach": attached, **members}


def b64(raw: bytes) -> dict[str, str]:
    return {"base64": base64.urlsafe_b64encode(raw).decode()}


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ({"json": {"a": 1}}, {"a": 1}),
        ({"json": "eyJh.eyJi.c2ln"}, "eyJh.eyJi.c2ln"),
        (b64(b'{"a": 1}'), {"a": 1}),
        (b64("né".encode()), "né"),
        (b64(b"eyJh.eyJi.c2ln"), "eyJh.eyJi.c2ln"),
    ],
)
def test_values(data: Any, value: Any) -> None:
    assert list(content(offer(data)).attachments) == [FormatAttachment(None, value, None, "0")]


UNREADABLE = [
    {"links": ["https://example.com/a"]},
    {"base64": "*"},
    {"base64": None},
    {"jws": {}},
    None,
    "e30=",
    b64(b""),
    b64(b"\xff\xfe"),
    b64(b"[" * 200 + b"]" * 200),
]


@pytest.mark.parametrize("data", UNREADABLE)
def test_what_cannot_be_read(data: Any) -> None:
    with pytest.raises(FormatError) as caught:
        content(offer(data))
    assert caught.value.code == "attachment-invalid"
    assert "offers~attach" in caught.value.detail


def test_what_cannot_be_read_is_left_out_beside_what_can() -> None:
    read = content(offer(*UNREADABLE, {"json": {"a": 1}}))
    assert [one.value for one in read.attachments] == [{"a": 1}]


@pytest.mark.parametrize("kind", ["offer-credential", "request-credential", "issue-credential"])
def test_nothing_attached(kind: str) -> None:
    for fields in (
        {"@type": f"{ISSUE}/{kind}", "@id": "m"},
        {"@type": f"{ISSUE}/{kind}", "@id": "m", "other~attach": [{"data": {"json": 1}}]},
        {"type": f"{ISSUE}/{kind}", "id": "m", "body": {}},
    ):
        with pytest.raises(FormatError, match="attachment-invalid"):
            content(fields)


@pytest.mark.parametrize("prefix", [ISSUE, PROOF])
def test_a_proposal_may_have_nothing_attached(prefix: str) -> None:
    name = "propose-credential" if prefix == ISSUE else "propose-presentation"
    assert content({"@type": f"{prefix}/{name}", "@id": "m"}) == Content()


def test_twenty_attachments() -> None:
    assert len(content(offer(*[{"json": 1}] * 20)).attachments) == 20
    with pytest.raises(FormatError, match="more than 20"):
        content(offer(*[{"json": 1}] * 21))


def test_five_hundred_attributes() -> None:
    entries = [{"name": "n", "value": ""}] * 500
    assert len(content(offer({"json": 1}, credential_preview={"attributes": entries})).preview) == 500
    with pytest.raises(FormatError, match="more than 500"):
        content(offer({"json": 1}, credential_preview={"attributes": [*entries, {}]}))
    with pytest.raises(FormatError, match="more than 500"):
        content(
            {
                "@type": "https://didcomm.org/present-proof/1.0/propose-presentation",
                "@id": "m",
                "presentation_proposal": {"attributes": [], "predicates": [*entries, {}]},
            }
        )


def test_formats() -> None:
    """By `formats` in 2.0, by the attachment itself in 3.0, never in 1.0."""
    named = [{"attach_id": "0", "format": "f/0"}, {"attach_id": "2", "format": "f/2"}, {"attach_id": 1}, None]
    read = content(offer({"json": 0}, {"json": 1}, formats=named))
    assert [one.format for one in read.attachments] == ["f/0", None]
    one = offer({"json": 0}, formats=named) | {"@type": "https://didcomm.org/issue-credential/1.0/offer-credential"}
    assert [one.format for one in content(one).attachments] == [None]
    attached = {"id": "a", "format": "f/a", "media_type": "application/json", "data": {"json": 0}}
    three = {"type": "https://didcomm.org/issue-credential/3.0/offer-credential", "id": "m", "attachments": [attached]}
    assert list(content(three).attachments) == [FormatAttachment("f/a", 0, "application/json", "a")]


def test_previews() -> None:
    entries = [
        {"name": "a", "value": "x"},
        {"name": "b", "value": 7},
        {"name": "c", "value": {"d": None}, "mime-type": 3},
        {"name": "e", "value": "aGk", "mime-type": "image/png"},
        {"name": "f"},
        {"name": "", "value": "x"},
        {"name": 1, "value": "x"},
        {"value": "x"},
        "g",
    ]
    expected = [
        Attribute("a", "x"),
        Attribute("b", "7"),
        Attribute("c", '{"d":null}'),
        Attribute("e", "aGk", "image/png"),
        Attribute("f", ""),
    ]
    assert list(content(offer({"json": 1}, credential_preview={"attributes": entries})).preview) == expected
    nothing: list[Any] = [None, [], "x", {}, {"attributes": {}}, {"attributes": None}, {"body": []}]
    for preview in nothing:
        assert list(content(offer({"json": 1}, credential_preview=preview)).preview) == []


@pytest.mark.parametrize(
    ("asked", "means"),
    [
        ({"~please_ack": {"on": ["OUTCOME"]}}, True),
        ({"~please_ack": {}}, True),
        ({"~please-ack": {"on": ["RECEIPT"]}}, True),
        ({}, False),
        ({"~please_ack": None}, False),
        ({"please_ack": [""]}, False),
    ],
)
def test_please_ack_of_v1(asked: dict[str, Any], means: bool) -> None:
    assert content(offer({"json": 1}, **asked)).please_ack is means
    converted = {"type": f"{ISSUE}/offer-credential", "id": "m", "attachments": [{"data": {"json": 1}}], "body": asked}
    assert content(converted).please_ack is means


@pytest.mark.parametrize(
    ("header", "means"),
    [
        ([""], True),
        (["m"], True),
        (["x", "m"], True),
        (True, True),
        ([], False),
        (["x"], False),
        (None, False),
        ("m", False),
        ({"m": 1}, False),
        (1, False),
    ],
)
def test_please_ack_of_v2(header: Any, means: bool) -> None:
    """DIDComm v2.1: ids of the messages to acknowledge, "" for the one that asks."""
    sent = {"type": f"{ISSUE}/offer-credential", "id": "m", "attachments": [{"data": {"json": 1}}]}
    assert content({**sent, "please_ack": header}).please_ack is means


def test_timing() -> None:
    timing = {
        "expires_time": "2019-01-25 18:25Z",
        "stale_time": "2019-01-24 18:25:00.5+01:00",
        "wait_until_time": "2019-01-24T00:00",
        "delay_milli": 12345,
    }
    read = content(offer({"json": 1}, **{"~timing": timing}))
    assert (read.expires_at, read.stale_at) == (1_548_440_700_000, 1_548_350_700_500)
    assert (read.delay_until, read.delay) == (1_548_288_000_000, 12345)
    v2 = {"type": f"{ISSUE}/offer-credential", "id": "m", "attachments": [{"data": {"json": 1}}]}
    assert content({**v2, "expires_time": 1_548_440_700}).expires_at == 1_548_440_700_000
    assert content({**v2, "body": {"~timing": timing}}).expires_at == 1_548_440_700_000


@pytest.mark.parametrize(
    "time",
    [
        None,
        1,
        [],
        "",
        "tomorrow",
        "1969-01-01",
        "0001-01-01T00:00+23:59",
        "9" * 5000,
    ],
)
def test_times_that_are_none(time: Any) -> None:
    timing = {"expires_time": time, "stale_time": time, "wait_until_time": time, "delay_milli": time or "x"}
    read = content(offer({"json": 1}, **{"~timing": timing}))
    assert (read.expires_at, read.stale_at, read.delay_until) == (0, 0, 0)
    for expires_time in (True, "1548440700", -1, 0, 1.5, 1 << 62):
        v2 = {"type": f"{ISSUE}/offer-credential", "id": "m", "attachments": [{"data": {"json": 1}}]}
        assert content({**v2, "expires_time": expires_time}).expires_at == 0


def test_a_delay_is_bounded() -> None:
    for asked, granted in ((-5, 0), (600_001, 600_000), (True, 0), (10**18, 600_000)):
        assert content(offer({"json": 1}, **{"~timing": {"delay_milli": asked}})).delay == granted


def test_times_written_are_read_as_they_were() -> None:
    for prefix, version, expected in (
        (ISSUE, "v1", 1_700_000_000_123),
        ("https://didcomm.org/issue-credential/3.0", "v2", 1_700_000_000_000),
    ):
        built = issue_credential.build(
            prefix,
            "offer",
            message_id="m",
            thid="t",
            version="v1" if version == "v1" else "v2",
            attachments=[("a", Draft({}, "f"))],
            please_ack=True,
            expires_at=1_700_000_000_123,
        )
        assert (content(built).expires_at, content(built).please_ack) == (expected, True)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
DATA = st.fixed_dictionaries(
    {}, optional={name: st.deferred(lambda: JSON) for name in ("json", "base64", "links", "jws")}
)
JSON: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["attributes", "predicates", "name", "value", "body", "data", "@id", "format", "attach_id"]
            ),
            inner,
            max_size=4,
        )
        | st.binary(max_size=12).map(b64)
    ),
    max_leaves=12,
)
ATTACHMENTS = st.lists(
    st.fixed_dictionaries({"data": DATA | JSON}, optional={"@id": JSON, "id": JSON}) | JSON, max_size=4
)
MEMBERS = (
    "credential_preview",
    "credential_proposal",
    "presentation_proposal",
    "formats",
    "comment",
    "goal_code",
    "replacement_id",
    "multiple_available",
    "more_available",
    "will_confirm",
    "present_multiple",
    "last_presentation",
    "~please_ack",
    "~thread",
    "cred_def_id",
)
KEYS = (
    "filters~attach",
    "offers~attach",
    "requests~attach",
    "credentials~attach",
    "proposals~attach",
    "request_presentations~attach",
    "presentations~attach",
)
TYPES = [
    f"{root}{protocol}/{version}/{name}"
    for root in ("https://didcomm.org/", "did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/")
    for protocol, names in (
        ("issue-credential", ("propose-credential", "offer-credential", "request-credential", "issue-credential")),
        ("present-proof", ("propose-presentation", "request-presentation", "presentation")),
    )
    for version in ("1.0", "2.0", "3.0")
    for name in (*names, "ack", "problem-report")
]
TIMING = st.dictionaries(
    st.sampled_from(["expires_time", "stale_time", "wait_until_time", "delay_milli"]),
    JSON | st.datetimes().map(str) | st.datetimes().map(lambda moment: f"{moment.isoformat()}-23:59"),
)
FIELDS = {
    **dict.fromkeys(MEMBERS, JSON),
    **dict.fromkeys(KEYS, ATTACHMENTS | JSON),
    "~timing": TIMING | JSON,
}


@given(
    type_=st.sampled_from(TYPES),
    fields=st.fixed_dictionaries({}, optional=FIELDS),
    header=st.fixed_dictionaries(
        {}, optional={"attachments": ATTACHMENTS | JSON, "please_ack": JSON, "expires_time": JSON}
    ),
    v2=st.booleans(),
)
def test_nothing_else_is_raised(type_: str, fields: dict[str, Any], header: dict[str, Any], v2: bool) -> None:
    # Python's writer, since orjson refuses the integers that it reads as floats.
    shaped = {"type": type_, "id": "m", "body": fields, **header} if v2 else {"@type": type_, "@id": "m", **fields}
    received = Message.read(json.dumps(shaped).encode())
    for protocol in (issue_credential, present_proof):
        step = protocol.read_step(received)
        if step is None:
            continue
        with contextlib.suppress(FormatError):
            assert isinstance(protocol.read(received, step), Content)
