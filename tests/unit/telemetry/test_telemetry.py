from __future__ import annotations

import json
import logging
import random
import subprocess
import sys

import pytest

from tests.stack import ROOT
from tntcore.config import ConfigError, Telemetry
from tntcore.delivery.spans import calling
from tntcore.pipeline.spans import protocol_of
from tntcore.storage.items import InboundItem
from tntcore.telemetry import QUIET, Meter, Span, Tracing, current, set_attribute, set_outcome, traceparent
from tntcore.telemetry.logs import JsonFormatter
from tntcore.telemetry.meter import (
    MESSAGES,
    OTHER,
    REFUSALS,
    REQUEST_SECONDS,
    STORAGE_CALLS,
    TENANT_ATTEMPTS,
    TENANT_MESSAGES,
)
from tntcore.telemetry.spans import read_traceparent

OURS = f"00-{'1f' * 16}-{'2e' * 8}-01"


ITEM = InboundItem(uuid="m", principal="tenant", owner="connection", owner_uuid="c")


def tracing(ended: list[Span], ratio: float = 1.0) -> Tracing:
    made = Tracing(random.Random(0).randbytes, Telemetry(ratio=ratio).sample)
    made.sinks.append(ended.append)
    return made


def test_spans_follow_each_other_over_an_item() -> None:
    ended: list[Span] = []
    traces = tracing(ended)
    with traces.begin("first") as first:
        item = ITEM.traced()
        assert item.trace == first.traceparent == traceparent()
        assert current() is first
    assert current() is None
    with traces.follow("second", "relay", tenant="tenant", parent=item.trace, link="") as second:
        assert item.traced() is item
    assert (second.trace_id, second.parent_id, second.tenant) == (first.trace_id, first.span_id, "tenant")
    assert second.span_id != first.span_id
    assert ended == [first, second]
    assert first.began <= first.ended <= second.ended


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        ["00"],
        "",
        "nonsense",
        OURS[:-1],
        OURS + "-00",
        OURS.upper(),
        OURS.replace("00-", "01-", 1),
        OURS.replace("00-", "ff-", 1),
        f"00-{'0' * 32}-{'2e' * 8}-01",
        f"00-{'1f' * 16}-{'0' * 16}-01",
        OURS + "\n",
        OURS.replace("1f", "١f"),
    ],
)
def test_what_is_no_traceparent_begins_a_trace(text: object) -> None:
    assert read_traceparent(text) is None
    step = tracing([]).begin("any", parent=text, links=[text])
    assert step.parent_id == 0
    assert step.trace_id
    assert list(step.links) == []


def test_a_step_does_as_the_one_before_it_did() -> None:
    ended: list[Span] = []
    with tracing(ended, ratio=0).begin("followed", parent=OURS) as followed:
        pass
    assert ended == [followed]
    with tracing(ended).begin("not followed", parent=OURS[:-1] + "0") as quiet:
        assert quiet.traceparent.endswith("-00")
    with tracing(ended, ratio=0).begin("begun") as begun:
        assert begun.traceparent.endswith("-00")
    assert ended == [followed]


def test_a_tenth_of_all_traces() -> None:
    ended: list[Span] = []
    traces = tracing(ended, ratio=0.1)
    for _ in range(2_000):
        with traces.begin("one"):
            pass
    assert 140 <= len(ended) <= 260


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://erp.example/a?key=secret", "erp.example"),
        ("https://[::1]:8443/", "::1"),
        ("https://[", None),
        ("https://a\x1b]0;b", None),
        ("https://a\x1bb.example/", "other"),
        (f"https://{'a' * 254}/", "other"),
    ],
)
def test_whom_a_step_calls(url: str, host: str | None) -> None:
    with tracing([]).begin("calls") as step:
        calling(url)
    assert step.attributes.get("server.address") == host
    calling(url)


def test_without_a_sink_there_is_nothing_to_carry() -> None:
    drawn: list[int] = []
    traces = Tracing(lambda size: bytes([*drawn, drawn.append(size) or 1]), lambda trace_id: True)  # type: ignore[func-returns-value]
    for watched in (False, True):
        traces.watched = watched
        _carries_nothing(traces)
    assert drawn == []
    assert (QUIET.attributes, QUIET.error, QUIET.tenant) == ({}, "", "")


def _carries_nothing(traces: Tracing) -> None:
    with traces.begin("off", parent=OURS, links=[OURS]) as step:
        step.tenant, step.error, step.attributes["a"] = "b", "c", "d"
        assert (step.traceparent, step.trace, traceparent()) == ("", "", "")
        assert ITEM.traced() is ITEM


class Waits(Exception):
    outcome = "put-off"


def test_what_becomes_of_a_step_is_told_without_the_words_of_an_exception() -> None:
    traces = tracing([])
    with pytest.raises(ValueError), traces.begin("breaks", "consumer") as broken:  # noqa: PT012
        set_outcome("stored")
        raise ValueError("with a secret")
    assert (broken.outcome, broken.error, broken.failed) == ("failed", "ValueError", True)
    with pytest.raises(Waits), traces.begin("waits", "consumer") as waiting:
        raise Waits
    assert (waiting.outcome, waiting.error, waiting.failed) == ("put-off", "", False)
    with traces.begin("refuses", "consumer") as refused:
        set_outcome("refused", "tampered")
    assert (refused.outcome, refused.error, refused.failed) == ("refused", "tampered", False)
    for status, failed in ((404, False), (500, True)):
        with traces.begin("answers") as answered:
            set_attribute("http.response.status_code", status)
        assert answered.failed is failed
    set_outcome("nowhere")
    set_attribute("nowhere", 1)


def test_tenants_beyond_the_bound_are_counted_together() -> None:
    meter = Meter(tenants=3)
    for number in range(10):
        meter.add(TENANT_MESSAGES, f"tenant {number}", "stored")
        meter.add(TENANT_ATTEMPTS, f"tenant {number}", "webhook", "delivered")
    assert meter.sum(TENANT_MESSAGES) == {
        ("tenant 0", "stored"): 1,
        ("tenant 1", "stored"): 1,
        ("tenant 2", "stored"): 1,
        (OTHER, "stored"): 7,
    }
    assert {labels[0] for labels in meter.sum(TENANT_ATTEMPTS)} == {"tenant 0", "tenant 1", "tenant 2", OTHER}
    none = Meter(tenants=0)
    many = Meter(tenants=1_000)
    for number in range(1_000):
        for outcome in ("stored", "refused"):
            many.add(TENANT_MESSAGES, f"tenant {number}", outcome)
    assert len(many.sum(TENANT_MESSAGES)) == 2_000
    none.add(TENANT_MESSAGES, "tenant", "stored")
    assert none.sum(TENANT_MESSAGES) == {(OTHER, "stored"): 1}


def test_no_metric_grows_without_end() -> None:
    meter = Meter()
    kept: list[tuple[str, ...]] = []
    meter.recorder = lambda metric, seconds, labels: kept.append(labels)
    for number in range(5_000):
        meter.add(MESSAGES, f"protocol {number}", "stored", "")
        meter.add(REFUSALS, f"/{number}", "code")
        meter.record(REQUEST_SECONDS, 1, "GET", f"/{number}", "200")
    assert len(meter.sum(MESSAGES)) == len(meter.sum(REFUSALS)) == 1_001
    assert meter.sum(MESSAGES)[OTHER, OTHER, OTHER] == 4_000
    assert len(set(kept)) == len(meter.labels(REQUEST_SECONDS)) == 1_001
    meter.add(MESSAGES, "protocol 1", "stored", "")
    assert meter.sum(MESSAGES)["protocol 1", "stored", ""] == 2


def test_storage_calls_are_apart_from_what_else_happens() -> None:
    meter = Meter()
    meter.count("table.get", 2)
    meter.count("inbound.duplicate")
    assert meter.sum(STORAGE_CALLS) == {("table.get",): 2}


@pytest.mark.parametrize(
    ("message_type", "protocol"),
    [
        ("https://didcomm.org/basicmessage/1.0/message", "basicmessage/1.0"),
        ("did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/basicmessage/1.0/message", "basicmessage/1.0"),
        ("https://didcomm.org/issue-credential/2.0/whatever", "issue-credential/2.0"),
        ("https://didcomm.org/basicmessage/9.9/message", OTHER),
        ("https://evil.example/basicmessage/1.0/message", OTHER),
        ("basicmessage/1.0", OTHER),
        ("", OTHER),
    ],
)
def test_senders_do_not_name_what_is_counted(message_type: str, protocol: str) -> None:
    assert protocol_of(message_type) == protocol


def test_a_line_says_where_it_was_logged_and_nothing_that_nobody_asked_for() -> None:
    record = logging.makeLogRecord(
        {
            "name": "tntcore.x",
            "levelname": "WARNING",
            "msg": "one\nline of %s \ud800",
            "args": ("a\x00b",),
            "created": 1_770_000_000.25,
            "code": "tampered",
            "key": "whatever else there is",
        }
    )
    with tracing([]).begin("step") as step:
        step.tenant = "some tenant"
        text = JsonFormatter().format(record)
    assert "\n" not in text
    assert json.loads(text) == {
        "time": "2026-02-02T02:40:00.250+00:00",
        "level": "WARNING",
        "logger": "tntcore.x",
        "message": "one\nline of a\x00b \ud800",
        "traceId": step.trace,
        "spanId": f"{step.span_id:016x}",
        "tenant": "some tenant",
        "code": "tampered",
    }
    assert set(json.loads(JsonFormatter().format(record))) == {"time", "level", "logger", "message", "code"}


def test_lines_are_json_from_the_first_to_the_last() -> None:
    code = (
        "import logging; from tntcore.telemetry import logs; logs.install()\n"
        "logging.getLogger('a').info('hello')\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: logging.getLogger('b').exception('oh')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    first, second = map(json.loads, done.stderr.splitlines())
    assert (first["message"], first["level"]) == ("hello", "INFO")
    assert (second["code"], second["level"]) == ("ZeroDivisionError", "ERROR")
    assert second["exception"].startswith("Traceback")


def test_the_environment_says_where_it_goes() -> None:
    assert Telemetry.read({}) == Telemetry()
    insights = {"APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=00000000-0000-0000-0000-000000000000"}
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}
    for environment, traces, metrics in (
        (endpoint, ("otlp",), ("otlp",)),
        (insights, ("azure",), ("azure",)),
        ({**endpoint, **insights}, ("otlp", "azure"), ("otlp", "azure")),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4318/x"}, ("otlp",), ()),
        ({**endpoint, "OTEL_METRICS_EXPORTER": "none"}, ("otlp",), ()),
        ({**endpoint, **insights, "OTEL_SDK_DISABLED": "true"}, (), ()),
        ({"OTEL_TRACES_EXPORTER": "console"}, ("console",), ()),
    ):
        found = Telemetry.read(environment)
        assert (found.traces, found.metrics) == (traces, metrics), environment
    assert Telemetry.read({"OTEL_TRACES_SAMPLER": "always_off"}).ratio == 0
    # What is off is not looked at.
    assert Telemetry.read({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_SAMPLER": "somebody's own"}) == Telemetry()
    tenth = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}
    assert Telemetry.read(tenth).ratio == 0.1
    assert Telemetry.read({"TNT_METRIC_TENANTS": "7", "TNT_LOG_FORMAT": "json"}) == Telemetry(tenants=7, json_logs=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TNT_METRIC_TENANTS", "-1"),
        ("TNT_METRIC_TENANTS", "many"),
        ("TNT_LOG_FORMAT", "xml"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
    ],
)
def test_what_it_does_not_know_it_says(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Telemetry.read({name: value})


@pytest.mark.parametrize("value", ["2", "-0.1", "nan", "x"])
def test_a_ratio_is_from_0_to_1(value: str) -> None:
    with pytest.raises(ConfigError, match="OTEL_TRACES_SAMPLER_ARG"):
        Telemetry.read({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": value})
