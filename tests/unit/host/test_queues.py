import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import azure.functions as func
import pytest

from devtools.azurite import Azurite
from devtools.host import Host, queues
from tests.unit.host.conftest import Queue, Running

Handler = Callable[[func.QueueMessage], Awaitable[None]]


def app_with(queue_name: str, handle: Handler) -> func.FunctionApp:
    app = func.FunctionApp()

    @app.queue_trigger(arg_name="msg", queue_name=queue_name, connection="AzureWebJobsStorage")
    async def work(msg: func.QueueMessage) -> None:
        await handle(msg)

    return app


async def empty(queue: Queue) -> bool:
    return await queue.count() == 0


async def test_success_deletes_and_the_message_carries_its_metadata(
    running: Running, queue: Queue, eventually: Callable[..., Any]
) -> None:
    seen: list[func.QueueMessage] = []

    async def handle(msg: func.QueueMessage) -> None:
        seen.append(msg)

    await queue.put('{"a": [1]}')
    async with running(app_with(queue.name, handle)) as host:
        await eventually(lambda: empty(queue))
        assert host.operations["queue.delete"] == 1
        assert host.operations["queue.get"] > host.operations["queue.get_empty"] >= 0
    [message] = seen
    assert message.get_json() == {"a": [1]}
    assert message.dequeue_count == 1
    assert message.id
    assert message.pop_receipt
    assert message.insertion_time is not None
    assert message.expiration_time is not None
    assert message.expiration_time > message.insertion_time


async def test_a_missing_queue_is_the_apps_to_make(
    running: Running,
    queue: Queue,
    eventually: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queues, "MISSING_AFTER", 0.3)
    seen: list[bytes] = []

    async def handle(msg: func.QueueMessage) -> None:
        seen.append(msg.get_body())

    await queue.client.delete_queue()
    async with running(app_with(queue.name, handle)):
        await eventually(lambda: f"Queue {queue.name} does not exist" in caplog.text)
        assert queue.name not in [each.name async for each in queue.service.list_queues()]
        await queue.client.create_queue()
        await queue.put("first")
        await eventually(lambda: seen == [b"first"])
    assert caplog.text.count("does not exist") == 1


async def test_failure_is_tried_again_and_then_goes_to_poison(
    running: Running, queue: Queue, eventually: Callable[..., Any]
) -> None:
    counts: list[int | None] = []

    async def handle(msg: func.QueueMessage) -> None:
        counts.append(msg.dequeue_count)
        raise RuntimeError("no")

    await queue.put("bad")
    async with running(app_with(queue.name, handle), {"maxDequeueCount": 3}):
        assert await eventually(queue.poisoned) == ["YmFk"]
        await eventually(lambda: empty(queue))
    assert counts == [1, 2, 3]


async def test_a_failure_waits_for_the_visibility_timeout(
    running: Running, queue: Queue, eventually: Callable[..., Any]
) -> None:
    times: list[float] = []

    async def handle(msg: func.QueueMessage) -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            raise RuntimeError("no")

    await queue.put("bad")
    async with running(app_with(queue.name, handle), {"visibilityTimeout": "00:00:01"}):
        await eventually(lambda: empty(queue))
    assert len(times) == 2
    assert times[1] - times[0] > 0.9


async def test_a_message_received_too_often_is_poison_without_a_run(
    running: Running, queue: Queue, eventually: Callable[..., Any]
) -> None:
    async def handle(msg: func.QueueMessage) -> None:
        pytest.fail("ran")

    await queue.put("x")
    # As hosts that were killed leave it.
    for _ in range(2):
        message = await queue.client.receive_message(visibility_timeout=1)
        assert message is not None
        await queue.client.update_message(message, visibility_timeout=0)
    async with running(app_with(queue.name, handle), {"maxDequeueCount": 2}):
        assert await eventually(queue.poisoned) == ["eA=="]


async def test_not_base64_goes_to_poison_as_it_is(
    running: Running, queue: Queue, eventually: Callable[..., Any]
) -> None:
    seen: list[bytes] = []

    async def handle(msg: func.QueueMessage) -> None:
        seen.append(msg.get_body())

    await queue.put("{not base64}", raw=True)
    await queue.put("fine")
    async with running(app_with(queue.name, handle)):
        assert await eventually(queue.poisoned) == ["{not base64}"]
        await eventually(lambda: empty(queue))
    assert seen == [b"fine"]


async def test_a_poison_queue_has_no_poison_queue(
    running: Running, queue: Queue, eventually: Callable[..., Any]
) -> None:
    counts: list[int | None] = []

    async def handle(msg: func.QueueMessage) -> None:
        counts.append(msg.dequeue_count)
        if len(counts) < 4:
            raise RuntimeError("no")

    await queue.poison.create_queue()
    await queue.poison.send_message("eA==")
    async with running(app_with(queue.name + "-poison", handle), {"maxDequeueCount": 1}):
        await eventually(lambda: len(counts) == 4)
        names = [each.name async for each in queue.service.list_queues()]
    assert counts == [1, 2, 3, 4]
    assert queue.name + "-poison-poison" not in names


async def test_a_lease_is_renewed_while_the_function_runs(
    running: Running, queue: Queue, eventually: Callable[..., Any]
) -> None:
    counts: list[int | None] = []

    async def handle(msg: func.QueueMessage) -> None:
        counts.append(msg.dequeue_count)
        await asyncio.sleep(2.5)

    await queue.put("long")
    async with running(app_with(queue.name, handle), lease=1) as host:
        await eventually(lambda: empty(queue))
        assert host.operations["queue.renew"] >= 3
    assert counts == [1]


async def test_at_most_a_batch_and_the_threshold_run_at_once_and_deletes_do_not_wait_for_each_other(
    running: Running, queue: Queue, eventually: Callable[..., Any]
) -> None:
    active, most, done = 0, 0, 0

    async def handle(msg: func.QueueMessage) -> None:
        nonlocal active, most, done
        active += 1
        most = max(most, active)
        await asyncio.sleep(0.1)
        active -= 1
        done += 1

    for number in range(20):
        await queue.put(str(number))
    async with running(app_with(queue.name, handle), {"batchSize": 4, "newBatchThreshold": 2}) as host:
        await eventually(lambda: empty(queue))
        assert host.operations["queue.delete"] == 20
    assert done == 20
    assert 4 <= most <= 6


async def test_an_app_that_wakes_its_host_is_asked_again_only_when_more_may_be_there(
    running: Running, queue: Queue, eventually: Callable[..., Any]
) -> None:
    for number in range(5):
        await queue.put(str(number))

    async def handle(msg: func.QueueMessage) -> None:
        pass

    async with running(app_with(queue.name, handle), {"batchSize": 2}, poll=60) as host:
        await eventually(lambda: empty(queue))
        assert host.operations["queue.get"] == 3
        await queue.put("one more")
        host.wake(queue.name)
        await eventually(lambda: host.operations["queue.delete"] == 6)
        assert (host.operations["queue.get"], host.operations["queue.get_empty"]) == (4, 0)


async def test_wake_spares_the_wait_for_the_next_poll(
    running: Running, queue: Queue, eventually: Callable[..., Any]
) -> None:
    seen: list[float] = []

    async def handle(msg: func.QueueMessage) -> None:
        seen.append(time.monotonic())

    async with running(app_with(queue.name, handle), {"maxPollingInterval": "00:01:00"}) as host:
        # Polls at 0, 0.1, 0.3, 0.7, 1.5 s: the next is due at 3.1.
        await asyncio.sleep(1.7)
        await queue.put("x")
        put = time.monotonic()
        host.wake(queue.name)
        host.wake("no such queue")
        await eventually(lambda: seen)
    assert seen[0] - put < 0.8


async def test_a_stop_lets_a_message_finish(running: Running, queue: Queue, eventually: Callable[..., Any]) -> None:
    state: list[str] = []

    async def handle(msg: func.QueueMessage) -> None:
        state.append("began")
        await asyncio.sleep(0.5)
        state.append("ended")

    await queue.put("x")
    async with running(app_with(queue.name, handle)):
        await eventually(lambda: state)
    assert state == ["began", "ended"]
    assert await empty(queue)


async def test_a_message_that_does_not_finish_in_time_is_put_back(
    running: Running, queue: Queue, eventually: Callable[..., Any]
) -> None:
    state: list[str] = []

    async def handle(msg: func.QueueMessage) -> None:
        state.append("began")
        await asyncio.sleep(60)

    await queue.put("x")
    async with running(app_with(queue.name, handle), grace=0.2):
        await eventually(lambda: state)
    message = await queue.client.receive_message()
    assert message is not None
    assert message.dequeue_count == 2


async def test_storage_that_is_gone_delays_no_stop(
    running: Running, queue: Queue, eventually: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(msg: func.QueueMessage) -> None: ...

    with Azurite() as other:
        host = Host(app_with(queue.name, handle), {}, other.connection_string, port=0)
        await host.start()
    await eventually(lambda: "cannot be read" in caplog.text)
    began = time.monotonic()
    await host.stop()
    assert time.monotonic() - began < 3
