"""Telemetry as an operator sees it: one trace from POST to webhook, counts, log lines; and nobody else in it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from tests.collector import Collector, Span
from tests.log_watch import WATCH, marker
from tests.scenarios.common import assert_problem, basic, by_queue
from tests.scenarios.foreign import connect_foreign
from tests.scenarios.test_deliveries import finish, held, kept_back, received
from tests.scenarios.test_replay import fail, until
from tests.stack import ROOT, Client, Receiver, Stack
from tntcore.app import App
from tntcore.config import Config, Telemetry
from tntcore.delivery.redeliver import redeliver
from tntcore.envelope import pack_v1
from tntcore.storage.records import Delivery
from tntcore.telemetry import Meter, logs
from tntcore.telemetry import export as exporting
from tntcore.telemetry.export import Exporter
from tntcore.telemetry.spans import Span as OwnSpan
from tntcore.telemetry.spans import read_traceparent

ZERO = "00000000-0000-0000-0000-000000000001"
SERVER, CONSUMER = 2, 5  # as OTLP has them
HOSTILE = f"00-{'ab' * 16}-{'cd' * 8}-01"


@pytest.fixture
def collector(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that gets what the service traces and counts."""
    with Collector() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "300")
        services = stack.app.services
        exporter = Exporter(Telemetry(("otlp",), ("otlp",)), services.meter, seconds=0.1)
        services.tracing.sinks.append(exporter)
        yield running
        services.tracing.sinks.remove(exporter)
        exporter.stop()
        services.meter.recorder = None


async def spans(collector: Collector, name: str, number: int = 1, *, trace: str = "", tenant: str = "") -> list[Span]:
    """Those of a name, and of a trace or tenant, once there are so many."""

    def wanted(span: Span) -> bool:
        return span.name == name and trace in ("", span.trace) and tenant in ("", span.attributes.get("tnt.tenant"))

    async with asyncio.timeout(60):
        while len(found := [span for span in list(collector.spans) if wanted(span)]) < number:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found


def trace_of(traceparent: str) -> str:
    return traceparent.split("-")[1]


async def test_one_trace_from_the_post_over_both_queues_to_the_webhook(stack: Stack, collector: Collector) -> None:
    client = await stack.register("Traced")
    hook = await client.webhook()
    secret = "token-in-a-path"
    entry = {"url": f"{hook.url}/{secret}?key={secret}", "match": ".*", "id": "erp", "headers": {"x-token": secret}}
    await client.post("settings/DIDCOMM_WEBHOOK", {"setting": [entry]}, 200)
    hook.answer = lambda got: (503 if len(hook.got) == 1 else 200, {})
    foreign = await connect_foreign(stack, client)
    packed = foreign.v1(orjson.dumps(basic("traced")))
    answer = await stack.call("POST", "didcomm", packed, traceparent=HOSTILE)
    assert answer.status == 202
    await hook.count(2)
    [door] = await spans(collector, "POST /api/didcomm", tenant=client.uuid)
    [handled] = await spans(collector, "process inbound", trace=door.trace)
    attempts = await spans(collector, "process relay", 2, trace=door.trace)
    attempts.sort(key=lambda span: span.attributes["tnt.attempt"])

    assert [span.kind for span in (door, handled, *attempts)] == [SERVER, CONSUMER, CONSUMER, CONSUMER]
    assert (door.parent, handled.parent, *(span.parent for span in attempts)) == ("", door.id, handled.id, handled.id)
    assert {span.attributes["tnt.tenant"] for span in (door, handled, *attempts)} == {client.uuid}
    assert {span.resource["service.name"] for span in (door, handled, *attempts)} == {"tntcore"}
    # Whatever a stranger says of traces is nothing to us.
    assert door.trace != trace_of(HOSTILE)
    assert door.links == []

    assert door.attributes["http.route"] == "/api/didcomm"
    assert door.attributes["http.response.status_code"] == 202
    assert handled.attributes["messaging.destination.name"] == "inbound"
    assert handled.attributes["messaging.batch.message_count"] == 1
    assert handled.attributes["tnt.protocol"] == "basicmessage/1.0"
    assert handled.attributes["tnt.outcome"] == "stored"
    assert handled.events == ["opened", "committed"]
    assert [span.attributes["tnt.outcome"] for span in attempts] == ["retry", "delivered"]
    assert [span.attributes["http.response.status_code"] for span in attempts] == [503, 200]
    assert [span.failed for span in attempts] == [True, False]
    assert attempts[0].attributes["error.type"] == "http-503"
    assert {span.attributes["server.address"] for span in attempts} == {"127.0.0.1"}
    assert secret not in str(collector.spans)
    # The tenant's own system may go on with it.
    assert [got.headers["traceparent"] for got in hook.got] == [f"00-{span.trace}-{span.id}-01" for span in attempts]


async def test_a_webhook_with_a_traceparent_of_its_own_keeps_it(stack: Stack, collector: Collector) -> None:
    client = await stack.register("Own header")
    hook = await client.webhook(headers={"TraceParent": HOSTILE})
    foreign = await connect_foreign(stack, client)
    assert (await stack.deliver(foreign.v1(orjson.dumps(basic("own"))))).status == 202
    await hook.count(1)
    assert [value for name, value in hook.got[0].headers.items() if name.lower() == "traceparent"] == [HOSTILE]


async def test_from_an_action_to_the_partners_door_and_not_into_its_trace(
    stack: Stack, collector: Collector, pair: tuple[Client, Client]
) -> None:
    acme, bolt = pair
    mine, _ = await stack.connect(acme, bolt)
    hook = await bolt.webhook()
    await acme.act(mine.contact_uuid, basic("over to them"))
    await hook.count(1)
    [call] = await spans(collector, "POST /api/action", tenant=acme.uuid)
    [sent] = await spans(collector, "process outbound", trace=call.trace)
    assert (call.parent, sent.parent) == ("", call.id)
    assert sent.events == ["packed"]
    assert sent.attributes["tnt.delivery.kind"] == "didcomm"
    [door] = await spans(collector, "POST /api/didcomm", tenant=bolt.uuid)
    assert (door.parent, door.links) == ("", [])
    assert door.trace == trace_of(hook.got[0].headers["traceparent"]) != call.trace
    assert {span.attributes.get("tnt.tenant") for span in collector.spans if span.trace == call.trace} == {acme.uuid}


async def test_a_partner_is_told_nothing_and_what_was_held_goes_on_in_its_trace(
    stack: Stack, collector: Collector
) -> None:
    client = await stack.register("Discreet")
    agent = Receiver()
    await agent.start()
    connection = await held(stack, client, 1)
    await finish(stack, client, connection, agent.url)
    await stack.app.outbound.drain(client.uuid, connection.uuid)
    await agent.count(1)
    await agent.stop()
    assert not [name for name in agent.got[0].headers if name.lower() in ("traceparent", "tracestate", "baggage")]
    [call] = await spans(collector, "POST /api/action", tenant=client.uuid)
    [sent] = await spans(collector, "process outbound", tenant=client.uuid)
    assert (sent.trace, sent.parent) == (call.trace, call.id)


async def test_a_tenants_own_trace_is_pointed_to_and_not_gone_on_with(stack: Stack, collector: Collector) -> None:
    client = await stack.register("Pointing")
    for number, (given, links) in enumerate(
        (
            (HOSTILE, [("ab" * 16, "cd" * 8)]),
            (f"00-{'0' * 32}-{'cd' * 8}-01", []),
            (f"ff-{'ab' * 16}-{'cd' * 8}-01", []),
            ("nonsense", []),
            (HOSTILE * 50, []),
        ),
        1,
    ):
        await client.call("GET", "message", traceparent=given)
        span = (await spans(collector, "GET /api/message", number, tenant=client.uuid))[-1]
        assert (span.parent, span.links) == ("", links), given
        assert span.trace != "ab" * 16
    # Who has no key points nowhere.
    await stack.call("GET", "message", tnt_subscription_key="wrong", traceparent=HOSTILE)
    await stack.call("GET", "nothing-here", traceparent=HOSTILE)
    [lost] = await spans(collector, "HTTP")
    [refused] = [span for span in collector.spans if span.attributes.get("error.type") == "key-unknown"]
    assert (lost.links, refused.links) == ([], [])


async def test_a_problem_and_a_log_line_name_the_trace(
    stack: Stack, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await stack.register("Named")
    wrong = assert_problem(await client.call("GET", "message?since=yesterday"), 400, "since-invalid")
    [span] = await spans(collector, "GET /api/message", tenant=client.uuid)
    assert wrong["traceId"] == span.trace
    assert span.attributes["error.type"] == "since-invalid"
    assert not span.failed

    lines: list[dict[str, Any]] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(self.format(record)))

    async def breaks(*given: Any, **named: Any) -> Any:
        raise OSError("as if storage were away")

    handler = Kept(logging.WARNING)
    handler.setFormatter(logs.JsonFormatter())
    logging.getLogger("tntcore").addHandler(handler)
    foreign = await connect_foreign(stack, client)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(stack.app.services.storage.committer, "commit", breaks)
            failed = assert_problem(
                await client.call("POST", "contact", {"contact": {"did": "did:web:x.example"}}), 500, "internal"
            )
            await stack.app.inbound.handle(
                orjson.dumps({"items": [orjson.loads(received(foreign, n))["items"][0] for n in ("one", "two")]}), 1
            )
    finally:
        logging.getLogger("tntcore").removeHandler(handler)
    [line] = [one for one in lines if one["logger"] == "tntcore.api.router"]
    assert (line["traceId"], line["tenant"], line["code"]) == (failed["traceId"], client.uuid, "internal")
    assert len(line["spanId"]) == 16
    assert line["level"] == "ERROR"
    assert line["exception"].endswith("as if storage were away")
    handled = await spans(collector, "process inbound", 2, tenant=client.uuid)
    assert [span.attributes["error.type"] for span in handled[:2]] == ["OSError", "OSError"]
    assert [span.failed for span in handled[:2]] == [True, True]


async def test_two_tenants_of_one_envelope_do_not_learn_of_each_other(stack: Stack, collector: Collector) -> None:
    foreign = [await connect_foreign(stack, await stack.register(name)) for name in ("One", "Other")]
    hooks = [await each.client.webhook() for each in foreign]
    sender = foreign[0].their_keys.ed25519
    keys = [each.our_keys.verkey for each in foreign]
    packed = pack_v1(orjson.dumps(basic("to both")), recipients=keys, sender=sender)
    assert (await stack.deliver(packed)).status == 202
    apart = [(await spans(collector, "send inbound", tenant=each.client.uuid))[0] for each in foreign]
    assert apart[0].trace != apart[1].trace
    [door] = {span.links[0] for span in apart}
    assert door[0] not in {span.trace for span in apart}
    await hooks[0].count(1)
    assert trace_of(hooks[0].got[0].headers["traceparent"]) == apart[0].trace
    for span, each in zip(apart, foreign, strict=True):
        await spans(collector, "process inbound", trace=span.trace, tenant=each.client.uuid)


async def test_a_replay_points_to_where_it_came_from_and_the_sweeper_goes_on(
    stack: Stack, collector: Collector
) -> None:
    client = await stack.register("Again")
    await client.webhook(id="erp")
    foreign = await connect_foreign(stack, client)
    [uuid] = await fail(foreign, "replayed")
    [handled] = await spans(collector, "process inbound", tenant=client.uuid)
    await client.post(f"delivery/{uuid}/replay", None, 200)
    await until(client, uuid, "DELIVERED")
    [call] = await spans(collector, "POST /api/delivery/{uuid}/replay", tenant=client.uuid)
    [again] = await spans(collector, "process relay", trace=call.trace)
    assert again.parent == call.id
    assert again.links == [(handled.trace, handled.id)]

    with kept_back(stack, "relay"):
        await stack.app.inbound.handle(received(foreign, "lost"), 1)
    [delivery] = (await client.get("delivery?status=PENDING"))["hits"]
    tenant = await client.tenant()
    record = await tenant.records.get(Delivery, delivery["uuid"])
    assert record is not None
    await redeliver(stack.app.outbox, tenant, record, overdue=True)
    await until(client, record.uuid, "DELIVERED")
    last = (await spans(collector, "process inbound", 2, tenant=client.uuid))[-1]
    [swept] = await spans(collector, "process relay", trace=last.trace)
    assert swept.parent == last.id


async def test_what_was_given_up_ends_its_trace(stack: Stack, collector: Collector) -> None:
    client = await stack.register("Poisoned")
    foreign = await connect_foreign(stack, client)
    [item] = orjson.loads(received(foreign, "poison"))["items"]
    await stack.app.poison.handle("inbound", "telemetry", orjson.dumps({"items": [{**item, "tp": HOSTILE}]}))
    [end] = await spans(collector, "give up inbound", tenant=client.uuid)
    assert (end.trace, end.parent, end.failed) == ("ab" * 16, "cd" * 8, True)
    await stack.app.poison.handle("inbound", "nonsense", orjson.dumps({"items": [{**item, "tp": ["?"]}]}))
    assert (await spans(collector, "give up inbound", 2, tenant=client.uuid))[1].parent == ""


async def test_what_is_counted(stack: Stack, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of the process that the other tests have in common, the tenants and labels that are told apart are all taken.
    fresh = Meter()
    for name in ("_sums", "_durations", "_tenants"):
        monkeypatch.setattr(stack.app.services.meter, name, getattr(fresh, name))

    async def listening() -> bool:
        return stack.app.services.meter.recorder is not None

    # What is said while OpenTelemetry is still imported has no duration.
    await stack.eventually(listening)
    client = await stack.register("Counted")
    hook = await client.webhook()
    foreign = await connect_foreign(stack, client)
    for message in (basic("counted"), {"@type": f"https://example.com/{marker('type')}/1.0/x", "@id": "1"}):
        assert (await stack.deliver(foreign.v1(orjson.dumps(message)))).status == 202
    assert (await stack.deliver(b"{}")).status == 400
    await hook.count(2)

    def point(name: str, **labels: str) -> Any:
        wanted = {key.replace("__", "."): value for key, value in labels.items()}
        found = [
            value for attributes, value in list(collector.points.get(name, [])) if wanted.items() <= attributes.items()
        ]
        return sum(found)

    async with asyncio.timeout(60):
        while not (  # noqa: ASYNC110
            point("tnt.tenant.messages", tnt__tenant=client.uuid, tnt__outcome="stored") == 2
            and point("tnt.tenant.delivery.attempts", tnt__tenant=client.uuid, tnt__outcome="delivered") == 2
        ):
            await asyncio.sleep(0.05)
    assert point("tnt.messages", tnt__protocol="basicmessage/1.0", tnt__outcome="stored") >= 1
    assert point("tnt.messages", tnt__protocol="other", tnt__outcome="stored") >= 1
    assert point("tnt.delivery.attempts", tnt__delivery__kind="webhook", tnt__outcome="delivered") >= 2
    assert point("tnt.http.refusals", http__route="/api/didcomm", error__type="message-not-an-envelope") >= 1
    assert point("http.server.request.duration", http__route="/api/didcomm", http__request__method="POST") >= 3
    assert point("messaging.process.duration", messaging__destination__name="inbound") >= 2
    assert point("tnt.delivery.attempt.duration", tnt__delivery__kind="webhook") >= 2
    assert point("tnt.message.age", messaging__destination__name="relay") >= 2
    assert point("tnt.storage.calls", tnt__storage__operation="table.transaction") >= 1
    assert "tnt.door.held" in collector.points
    assert marker("type") not in str(collector.points)


@pytest.mark.parametrize("how", ["down", "hanging", "refusing"])
async def test_a_collector_that_does_not_work_costs_no_message_anything(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    client = await stack.register(f"With a collector {how}")
    hook = await client.webhook()
    foreign = await connect_foreign(stack, client)
    with Collector() as collector:
        if how == "hanging":
            collector.answer = lambda: time.sleep(60) or 200  # type: ignore[func-returns-value]
        elif how == "refusing":
            collector.answer = lambda: 401
        url = "http://127.0.0.1:9" if how == "down" else collector.url
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setattr(exporting, "MAX_WAITING", 20)
        services = stack.app.services
        exporter = Exporter(Telemetry(("otlp",), ("otlp",)), services.meter, seconds=0.01)
        services.tracing.sinks.append(exporter)
        dropped = services.meter.counts["telemetry.dropped"]
        try:
            longest = 0.0
            for number in range(30):
                began = time.monotonic()
                assert (await stack.deliver(foreign.v1(orjson.dumps(basic(number))))).status == 202
                await hook.count(number + 1)
                longest = max(longest, time.monotonic() - began)
            assert longest < 5
            if how == "hanging":
                assert services.meter.counts["telemetry.dropped"] > dropped
                assert len(exporter._ended) <= 20
        finally:
            services.tracing.sinks.remove(exporter)
            services.meter.recorder = None
            began = time.monotonic()
            await asyncio.to_thread(exporter.stop, 1.0)
            assert time.monotonic() - began < 3


async def test_the_environment_turns_it_on_and_closing_sends_what_is_left(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await stack.register("On")
    foreign = await connect_foreign(stack, client)
    with Collector() as collector:
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "x-from=us",
            "OTEL_SERVICE_NAME": "ours",
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        # As long as it takes: other tests may have the machine.
        monkeypatch.setattr(exporting, "CLOSE_SECONDS", 60)
        app = App.open(Config.read({**stack.environment, **settings}))
        await app.inbound.handle(received(foreign, "left"), 1)
        await app.close()
        [span] = [one for one in collector.spans if one.name == "process inbound"]
        assert span.resource["service.name"] == "ours"
        assert {headers.get("x-from") for headers in collector.headers} == {"us"}
        assert "tnt.messages" in collector.points


async def test_application_insights_gets_it_by_its_connection_string(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = await stack.register("Insights")
    hook = await client.webhook()
    hook.answer = lambda got: (410, {})
    foreign = await connect_foreign(stack, client)
    with Collector() as collector:
        settings = {
            "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={ZERO};IngestionEndpoint={collector.url}/",
            "OTEL_TRACES_SAMPLER": "traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.5",
            "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
            "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        # As long as it takes: other tests may have the machine.
        monkeypatch.setattr(exporting, "CLOSE_SECONDS", 60)
        app = App.open(Config.read({**stack.environment, **settings}))
        [item] = orjson.loads(received(foreign, "insights"))["items"]
        items: list[dict[str, Any]] = []

        async def keep(data: bytes) -> None:
            items.append(orjson.loads(data))

        by_queue(monkeypatch)
        monkeypatch.setattr(app.services.storage.relay, "add", keep)
        await app.inbound.handle(orjson.dumps({"items": [{**item, "tp": HOSTILE}]}), 1)
        await app.relay.handle(orjson.dumps({"items": items}), 1)
        await app.close()
    found = {one["data"]["baseData"]["name"]: one for one in collector.insights if "Request" in one["name"]}
    handled, called = found["process inbound"], found["process relay"]
    assert handled["tags"]["ai.operation.id"] == called["tags"]["ai.operation.id"] == "ab" * 16
    assert handled["tags"]["ai.operation.parentId"] == "cd" * 8
    assert called["tags"]["ai.operation.parentId"] == handled["data"]["baseData"]["id"]
    assert handled["data"]["baseData"]["properties"]["tnt.protocol"] == "basicmessage/1.0"
    assert called["data"]["baseData"]["properties"]["tnt.error"] == "http-410"
    assert {one["sampleRate"] for one in found.values()} == {50.0}
    sums = {one["data"]["baseData"]["metrics"][0]["name"] for one in collector.insights if "Metric" in one["name"]}
    assert {"tnt.messages", "tnt.delivery.attempts"} <= sums
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    # Those of OpenTelemetry are about the collectors of tests before.
    assert [record.message for record in errors if record.name.startswith("azure")] == []


async def test_what_is_not_sampled_is_not_sent_nor_what_follows_it(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await stack.register("Unsampled")
    hook = await client.webhook()
    foreign = await connect_foreign(stack, client)
    ended: list[OwnSpan] = []
    monkeypatch.setattr(stack.app.services.tracing, "_sample", lambda trace_id: False)
    stack.app.services.tracing.sinks.append(ended.append)
    try:
        assert (await stack.deliver(foreign.v1(orjson.dumps(basic("unsampled"))))).status == 202
        await hook.count(1)
        found = read_traceparent(hook.got[0].headers["traceparent"])
        assert found is not None
        assert found[2] is False
        wrong = assert_problem(await client.call("GET", "message?since=yesterday"), 400, "since-invalid")
        assert len(wrong["traceId"]) == 32
    finally:
        stack.app.services.tracing.sinks.remove(ended.append)
    assert [step for step in ended if step.tenant == client.uuid] == []


async def test_off_nothing_is_traced_and_opentelemetry_is_not_even_imported(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await stack.register("Off")
    hook = await client.webhook()
    foreign = await connect_foreign(stack, client)
    monkeypatch.setattr(stack.app.services.tracing, "sinks", [])
    with kept_back(stack, "inbound") as items:
        assert (await stack.deliver(foreign.v1(orjson.dumps(basic("off"))))).status == 202
    assert [set(item) for item in items] == [{"id", "p", "o", "u", "e"}]
    assert (await stack.deliver(foreign.v1(orjson.dumps(basic("off, too"))))).status == 202
    await hook.count(1)
    assert "traceparent" not in {name.lower() for name in hook.got[0].headers}
    wrong = assert_problem(await client.call("GET", "message?since=yesterday"), 400, "since-invalid")
    assert len(wrong["traceId"]) == 36

    code = (
        "import asyncio, os, sys, function_app\n"
        "async def main():\n"
        "    app = function_app.service.app()\n"
        "    await app.services.storage.ensure()\n"
        "    await function_app.service.close()\n"
        "asyncio.run(main())\n"
        "print([name for name in sys.modules if 'opentelemetry' in name])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**environment, **stack.environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]", done.stdout


def test_what_the_tests_trace_is_looked_at() -> None:
    assert WATCH.spans > 0
