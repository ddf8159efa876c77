"""Trust ping, discover features and problem reports, as they decide: what is answered, and how."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tntcore.messaging.message import Message
from tntcore.messaging.types import DID_SOV, DIDCOMM_ORG
from tntcore.protocols import did_rotate, discover_features, out_of_band, report_problem, trust_ping
from tntcore.protocols.registry import PROTOCOLS, decide
from tntcore.protocols.transition import DecisionContext, Transition

RUN = {
    "https://didcomm.org/alpha/1.0": ("sender", "receiver"),
    "https://didcomm.org/alpha/1.1": ("receiver",),
    "https://didcomm.org/alphabet/1.0": (),
    "https://didcomm.org/beta/2.0": ("sender",),
}
ALL = list(RUN)
CONTEXT = DecisionContext(lambda: "new", RUN)


def v1(type_: str, **fields: Any) -> Message:
    return Message.read(orjson.dumps({"@type": type_, "@id": "1", **fields}))


def v2(type_: str, **body: Any) -> Message:
    return Message.read(orjson.dumps({"type": type_, "id": "1", "body": body}))


def only_reply(transition: Transition | None) -> Any:
    assert transition is not None
    assert transition.failed_threads == ()
    [reply] = transition.replies
    return reply


# Trust ping.


@pytest.mark.parametrize("root", [DIDCOMM_ORG, DID_SOV])
@pytest.mark.parametrize("wanted", [{}, {"response_requested": True}, {"response_requested": None}])
def test_a_ping_is_answered_on_its_thread_and_in_its_spelling(root: str, wanted: dict[str, Any]) -> None:
    for thread, thid in (({}, "1"), ({"~thread": {"thid": "t"}}, "t")):
        answer = only_reply(trust_ping.decide(v1(f"{root}trust_ping/1.0/ping", **thread, **wanted), CONTEXT))
        assert answer == {"@type": f"{root}trust_ping/1.0/ping_response", "@id": "new", "~thread": {"thid": thid}}


def test_a_ping_of_v2_is_answered_in_v2() -> None:
    for body in ({}, {"response_requested": True}):
        answer = only_reply(trust_ping.decide(v2("https://didcomm.org/trust-ping/2.0/ping", **body), CONTEXT))
        assert answer == {
            "id": "new",
            "type": "https://didcomm.org/trust-ping/2.0/ping-response",
            "thid": "1",
            "body": {},
        }


def test_a_ping_that_wants_no_answer_gets_none() -> None:
    for ping in (
        v1("https://didcomm.org/trust_ping/1.0/ping", response_requested=False),
        v1(f"{DID_SOV}trust_ping/1.0/ping", response_requested=False),
        v2("https://didcomm.org/trust-ping/2.0/ping", response_requested=False),
    ):
        assert trust_ping.decide(ping, CONTEXT) == Transition()


@pytest.mark.parametrize(
    "type_",
    [
        "https://didcomm.org/trust_ping/1.0/ping_response",
        "https://didcomm.org/trust-ping/2.0/ping-response",
        "https://didcomm.org/trust_ping/3.0/ping",
        "https://example.com/trust_ping/1.0/ping",
        "ping",
        "",
    ],
)
def test_nothing_else_is_a_ping(type_: str) -> None:
    assert trust_ping.decide(v1(type_), CONTEXT) is None
    assert decide(v1(type_), CONTEXT) == Transition()


# Discover features.

MATCHES: list[tuple[Any, list[str]]] = [
    ("*", ALL),
    ("https://didcomm.org/*", ALL),
    (f"{DID_SOV}alpha/*", ALL[:2]),
    ("https://didcomm.org/alpha*", ALL[:3]),
    ("https://didcomm.org/alpha/1.*", ALL[:2]),
    ("https://didcomm.org/alpha/1.1", ALL[1:2]),
    ("https://didcomm.org/alpha/1.1*", ALL[1:2]),
    (f"{DID_SOV}beta/2.0", ALL[3:]),
    # Without an asterisk it is the whole name that counts.
    ("https://didcomm.org/alpha/1", []),
    ("https://didcomm.org/alpha", []),
    ("https://didcomm.org/gamma/*", []),
    ("beta*", []),
    # A regular expression it is not.
    (".*", []),
    ("https://didcomm.org/alpha/1.?", []),
    ("", []),
    (None, []),
    (7, []),
    (["*"], []),
    ({"match": "*"}, []),
]


@pytest.mark.parametrize("root", [DIDCOMM_ORG, DID_SOV])
@pytest.mark.parametrize(("query", "expected"), MATCHES)
def test_what_a_query_of_1_0_matches(root: str, query: Any, expected: list[str]) -> None:
    answer = only_reply(discover_features.decide(v1(f"{root}discover-features/1.0/query", query=query), CONTEXT))
    assert answer["@type"] == f"{root}discover-features/1.0/disclose"
    assert answer["~thread"] == {"thid": "1"}
    assert answer["protocols"] == [{"pid": uri, "roles": list(RUN[uri])} for uri in expected]


@pytest.mark.parametrize(("query", "expected"), MATCHES)
def test_what_queries_of_2_0_match(query: Any, expected: list[str]) -> None:
    queries = [{"feature-type": "protocol", "match": query}]
    disclosed = [{"feature-type": "protocol", "id": uri, "roles": list(RUN[uri])} for uri in expected]
    for root in (DIDCOMM_ORG, DID_SOV):
        asked = v1(f"{root}discover-features/2.0/queries", queries=queries)
        answer = only_reply(discover_features.decide(asked, CONTEXT))
        assert answer["@type"] == f"{root}discover-features/2.0/disclosures"
        assert answer["disclosures"] == disclosed
    answer = only_reply(
        discover_features.decide(v2("https://didcomm.org/discover-features/2.0/queries", queries=queries), CONTEXT)
    )
    assert answer["type"] == "https://didcomm.org/discover-features/2.0/disclose"
    assert (answer["thid"], answer["body"]) == ("1", {"disclosures": disclosed})


@pytest.mark.parametrize(
    ("queries", "expected"),
    [
        # Each feature once, in the order in which it was first asked for.
        (
            [{"feature-type": "protocol", "match": ALL[3]}, {"feature-type": "protocol", "match": "*"}],
            [ALL[3], *ALL[:3]],
        ),
        ([{"feature-type": "goal-code", "match": "*"}, {"feature-type": "protocol", "match": ALL[1]}], ALL[1:2]),
        ([{"feature-type": "protocol"}, {"match": "*"}, "*", None, 1, []], []),
        ([], []),
        ("*", []),
        ({"feature-type": "protocol", "match": "*"}, []),
        (None, []),
        ([{"feature-type": "protocol", "match": "x"}] * 20 + [{"feature-type": "protocol", "match": "*"}], []),
    ],
)
def test_several_queries(queries: Any, expected: list[str]) -> None:
    asked = v1("https://didcomm.org/discover-features/2.0/queries", queries=queries)
    answer = only_reply(discover_features.decide(asked, CONTEXT))
    assert [disclosed["id"] for disclosed in answer["disclosures"]] == expected


def test_no_answer_is_answered() -> None:
    for type_ in ("1.0/disclose", "2.0/disclosures", "2.0/disclose"):
        assert discover_features.decide(v1(f"https://didcomm.org/discover-features/{type_}"), CONTEXT) is None
    assert discover_features.decide(v2("https://didcomm.org/discover-features/2.0/disclose"), CONTEXT) is None


def test_all_that_is_run_is_disclosed() -> None:
    context = DecisionContext(lambda: "new", PROTOCOLS)
    asked = v1("https://didcomm.org/discover-features/1.0/query", query="*")
    found = {entry["pid"]: entry["roles"] for entry in only_reply(decide(asked, context))["protocols"]}
    assert found == {uri: list(roles) for uri, roles in PROTOCOLS.items()}
    for message in (
        did_rotate.hangup(message_id="1"),
        out_of_band.reuse(message_id="1", pthid="2"),
        {"@type": "https://didcomm.org/connections/1.0/request"},
        {"@type": "https://didcomm.org/didexchange/1.1/request"},
        {"@type": "https://didcomm.org/report-problem/1.0/problem-report"},
        {"@type": "https://didcomm.org/basicmessage/1.0/message"},
    ):
        assert message["@type"].rpartition("/")[0] in found


# Problem reports.

REPORTS = [
    f"{root}{rest}"
    for root in (DIDCOMM_ORG, DID_SOV)
    for rest in (
        "report-problem/1.0/problem-report",
        "report-problem/2.0/problem-report",
        "notification/1.0/problem-report",
        "didexchange/1.1/problem_report",
        "did-rotate/1.0/problem-report",
        "anything/4.2/problem-report",
    )
]


@pytest.mark.parametrize("type_", REPORTS)
@pytest.mark.parametrize(
    ("thread", "failed"),
    [
        ({}, []),
        ({"thid": "1"}, []),  # a thread of its own: nothing but the report is on it
        ({"thid": "t"}, ["t"]),
        ({"pthid": "p"}, ["p"]),
        ({"thid": "t", "pthid": "p"}, ["t", "p"]),
        ({"thid": "1", "pthid": "p"}, ["p"]),
    ],
)
def test_a_report_names_what_has_failed_and_is_never_answered(
    type_: str, thread: dict[str, str], failed: list[str]
) -> None:
    for message in (
        v1(type_, **{"~thread": thread}),
        v1(type_, **{"~thread": thread, "~please_ack": {}, "response_requested": True}),
        Message.read(orjson.dumps({"type": type_, "id": "1", **thread, "body": {"code": "e.p"}})),
    ):
        transition = report_problem.decide(message, CONTEXT)
        assert transition is not None
        assert (list(transition.failed_threads), transition.replies) == (failed, ())
        assert decide(message, CONTEXT) == transition


@pytest.mark.parametrize("type_", ["https://didcomm.org/report-problem/1.0/other", "problem-report", ""])
def test_what_is_no_report(type_: str) -> None:
    assert report_problem.decide(v1(type_), CONTEXT) is None


# DID rotate and reuse: which messages are theirs.


@pytest.mark.parametrize("root", [DIDCOMM_ORG, DID_SOV])
@pytest.mark.parametrize("kind", ["rotate", "ack", "problem-report", "hangup"])
def test_messages_of_did_rotate(root: str, kind: str) -> None:
    assert did_rotate.kind_of(v1(f"{root}did-rotate/1.0/{kind}")) == kind
    assert did_rotate.kind_of(v1(f"https://example.com/did-rotate/1.0/{kind}")) is None
    assert did_rotate.kind_of(v1(f"{root}did-rotate/2.0/{kind}")) is None
    # DIDComm v2 has `from_prior` instead.
    assert did_rotate.kind_of(v2(f"{root}did-rotate/1.0/{kind}")) is None


@pytest.mark.parametrize("root", [DIDCOMM_ORG, DID_SOV])
def test_reuse(root: str) -> None:
    asked = v1(f"{root}out-of-band/1.0/handshake-reuse", **{"~thread": {"thid": "t", "pthid": "p"}})
    assert out_of_band.kind_of(asked) == "reuse"
    assert out_of_band.reuse_accepted(asked, message_id="new") == {
        "@type": f"{root}out-of-band/1.0/handshake-reuse-accepted",
        "@id": "new",
        "~thread": {"thid": "t", "pthid": "p"},
    }
    for other in (
        v1(f"{root}out-of-band/1.0/handshake-reuse-accepted"),
        v1(f"{root}out-of-band/2.0/handshake-reuse"),
        v1("https://example.com/out-of-band/1.0/handshake-reuse"),
        v2(f"{root}out-of-band/1.1/handshake-reuse"),
    ):
        assert out_of_band.kind_of(other) != "reuse"


def test_a_warning_fails_no_thread() -> None:
    for code, failed in (("w.p.slow", []), ("e.p.gone", ["thread"])):
        type_ = "https://didcomm.org/report-problem/2.0/problem-report"
        message = Message.read(orjson.dumps({"type": type_, "id": "1", "pthid": "thread", "body": {"code": code}}))
        transition = report_problem.decide(message, CONTEXT)
        assert transition is not None
        assert list(transition.failed_threads) == failed
