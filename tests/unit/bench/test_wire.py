"""The bare HTTP of the benchmark's load and receiver."""

from __future__ import annotations

import asyncio

import pytest

from devtools.bench.wire import Receiver, Sender, request, split, status


class Written(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.data: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.data.append(bytes(data))


def test_a_request_is_split_as_it_was_made() -> None:
    buffer = bytearray(request("/api/didcomm", "127.0.0.1:1", "text/plain", b"hello"))
    found = split(buffer)
    assert found is not None
    assert found[0].startswith(b"POST /api/didcomm HTTP/1.1\r\nHost: 127.0.0.1:1\r\n")
    assert found[1] == b"hello"
    assert not buffer


def test_nothing_is_split_off_before_it_is_all_there() -> None:
    whole = b"HTTP/1.1 202 Accepted\r\ncontent-LENGTH: 3\r\nServer: x\r\n\r\nabc"
    for end in range(len(whole)):
        buffer = bytearray(whole[:end])
        assert split(buffer) is None
        assert buffer == whole[:end]
    assert split(bytearray(whole + b"next")) == (whole[:-7], b"abc")


def test_a_message_of_unknown_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="Content-Length"):
        split(bytearray(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"))


def test_status() -> None:
    assert status(b"HTTP/1.1 202 Accepted\r\nX: 500") == 202


def test_the_receiver_answers_each_of_several_calls_that_come_together() -> None:
    got: list[bytes] = []
    receiver, transport = Receiver(got.append), Written()
    receiver.connection_made(transport)
    both = request("/", "h", "t", b"one") + request("/", "h", "t", b"two")
    receiver.data_received(both[:-1])
    assert got == [b"one"]
    receiver.data_received(both[-1:])
    assert got == [b"one", b"two"]
    assert b"".join(transport.data).count(b"HTTP/1.1 200 OK") == 2


def test_the_sender_tells_of_its_answer_and_of_a_connection_that_closed_before_it() -> None:
    answers: list[int] = []
    sender = Sender(lambda _, code: answers.append(code))
    sender.connection_made(Written())
    sender.send(b"x")
    sender.data_received(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n")
    assert answers == []
    sender.data_received(b"\r\n")
    assert answers == [202]
    sender.send(b"x")
    sender.connection_lost(None)
    sender.connection_lost(None)
    assert answers == [202, 0]
