"""Nothing secret is logged: not a key, not a token, not a word of a message, whatever goes wrong with it.

What all other tests log is looked at when they are over; see `tests.log_watch`.
"""

from __future__ import annotations

import base64
import logging
import secrets
from typing import Any

import base58
import orjson
import pytest

from tests.log_watch import WATCH, LogWatch, marker
from tests.scenarios.common import basic
from tests.scenarios.foreign import connect_foreign
from tests.scenarios.test_redelivery import body, item
from tests.stack import Stack
from tntcore.envelope import PrivateKey
from tntcore.telemetry import Meter, Span
from tntcore.telemetry.meter import REFUSALS


def test_the_watch_sees_what_it_is_told_of() -> None:
    key = PrivateKey.generate("Ed25519")
    random = secrets.token_bytes(32)
    assert {key.raw, random} <= WATCH.keys
    for leak in (
        f"key {key.raw.hex()}",
        f"tnt_{base64.urlsafe_b64encode(random).decode().rstrip('=')}",
        f"secret=whsec_{base64.b64encode(random).decode()}!",
        str({"seed": base58.b58encode(key.raw).decode()}),
        f'{{"content":"{marker("seen")}"}}',
    ):
        watch = LogWatch()
        watch.keys, watch.texts = {key.raw, random}, {marker("seen")}
        watch.emit(logging.makeLogRecord({"name": "leaky", "msg": "%s", "args": (leak,)}))
        assert watch.found(), leak
        try:
            raise ValueError(leak)
        except ValueError as error:
            again = LogWatch()
            again.keys, again.texts = watch.keys, watch.texts
            again.emit(logging.makeLogRecord({"msg": "x", "exc_info": (ValueError, error, error.__traceback__)}))
            assert again.found()
        for put in (_in_a_field, _in_a_span, _in_a_name, _in_a_label, _in_a_count):
            other = LogWatch()
            other.keys, other.texts = watch.keys, watch.texts
            put(other, leak)
            assert other.found(), put
    harmless = LogWatch()
    harmless.keys = {key.raw}
    harmless.emit(logging.makeLogRecord({"msg": str(key) + base58.b58encode(key.public.raw).decode()}))
    assert harmless.found() == []


def _in_a_field(watch: LogWatch, leak: str) -> None:
    watch.emit(logging.makeLogRecord({"msg": "x", "code": leak}))


def _in_a_span(watch: LogWatch, leak: str) -> None:
    span = Span("process inbound", "consumer", None)
    span.attributes["tnt.protocol"] = leak
    watch.span(span)


def _in_a_name(watch: LogWatch, leak: str) -> None:
    watch.span(Span(leak, "consumer", None))


def _in_a_label(watch: LogWatch, leak: str) -> None:
    meter = Meter()
    meter.add(REFUSALS, leak, "code")
    watch.counted(meter)


def _in_a_count(watch: LogWatch, leak: str) -> None:
    meter = Meter()
    meter.count(f"refused.{leak}")
    watch.counted(meter)


async def test_what_goes_wrong_with_a_message_is_told_without_its_words(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of our own doors, with something failing inside that quotes all it was given."""
    client = await stack.register("Logged")
    hook = await client.webhook(headers={"authorization": f"Bearer {marker('bearer')}"})
    foreign = await connect_foreign(stack, client)
    hook.answer = lambda got: (500, {})
    hook.text = marker("what the receiver answers")
    records, spans = WATCH.records, WATCH.spans
    await stack.app.inbound.handle(body(item(foreign, marker("in"))), 1)
    await client.act(foreign.connection.contact_uuid, basic(marker("out")))
    await hook.until(lambda got: True)

    async def quote(*given: Any, **named: Any) -> Any:
        raise OSError("as if storage were away")

    with monkeypatch.context() as patch:
        patch.setattr(stack.app.services.storage.committer, "commit", quote)
        with pytest.raises(OSError, match="away"):
            await stack.app.inbound.handle(body(item(foreign, marker("fails"))), 1)
        await stack.app.inbound.handle(body(*(item(foreign, marker(f"list {n}")) for n in range(2))), 1)
        answer = await client.call(
            "POST",
            "action",
            {"type": "DIDCOMM", "to": foreign.connection.contact_uuid, "data": {"message": basic(marker("act"))}},
        )
        assert answer.status == 500
    await stack.app.poison.handle("inbound", "logged", body(item(foreign, marker("poison"))))
    for content in (b"{", orjson.dumps({"setting": [{"url": f"https://a:{marker('url')}@example.com"}]})):
        assert (await client.call("PUT", "settings/DIDCOMM_WEBHOOK", content)).status == 400
    assert (await client.call("GET", f"message?tnt-subscription-key={marker('query')}")).status == 200
    assert WATCH.records > records
    assert WATCH.spans > spans
    WATCH.counted(stack.app.services.meter)
    assert WATCH.found() == []
