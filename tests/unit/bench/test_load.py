"""What the benchmark sends, and when."""

from __future__ import annotations

from itertools import count

import pytest

from devtools.bench.load import ACCEPTED, SIZE, Load, number_of, plaintext, prepare
from devtools.bench.wire import Sender, split
from tntcore.dids.multiformats import encode_verkey
from tntcore.envelope import PrivateKey, unpack
from tntcore.envelope.results import Authcrypt
from tntcore.messaging.message import Message


class Line(Sender):
    """A connection that only remembers what was sent over it."""

    def __init__(self) -> None:
        super().__init__(lambda *_: None)
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.sent.append(data)


def hook(number: int) -> bytes:
    return b'{"message":' + plaintext(number) + b',"from":"did:example:1"}'


def load(messages: int, *, under_way: int = 0) -> Load:
    clock = count(1)
    return Load([b"%d" % number for number in range(messages)], under_way=under_way, clock=lambda: float(next(clock)))


def test_a_message_has_its_size_its_number_and_a_thread_of_its_own() -> None:
    for number in (0, 1, 70_000):
        data = plaintext(number)
        message = Message.read(data)
        assert len(data) == SIZE
        assert message.type == "https://didcomm.org/basicmessage/1.0/message"
        assert message.thid == message.id
        assert number_of(hook(number)) == number


def test_a_hook_without_a_message_is_an_error() -> None:
    with pytest.raises(ValueError, match="not found"):
        number_of(b"{}")


def test_requests_are_packed_for_each_target_in_turn() -> None:
    sender = PrivateKey.generate("Ed25519")
    ours = {encode_verkey(key.public): key for key in (PrivateKey.generate("Ed25519") for _ in range(2))}
    requests = prepare("http://127.0.0.1:9/api/didcomm", [(sender, verkey) for verkey in ours], 4)
    to = []
    for number, request in enumerate(requests):
        found = split(bytearray(request))
        assert found is not None
        opened = unpack(found[1], ours, {})
        assert isinstance(opened, Authcrypt)
        assert opened.plaintext == plaintext(number)
        to.append(opened.recipient_kid)
    assert to == [*ours, *ours]


def test_a_connection_sends_its_next_when_the_last_is_answered() -> None:
    running, line = load(3), Line()
    running.send(line)
    assert line.sent == [b"0"]
    running.on_answer(line, ACCEPTED)
    assert line.sent == [b"0", b"1"]
    running.stop()
    running.on_answer(line, ACCEPTED)
    assert line.sent == [b"0", b"1"]
    assert not running.waiting()
    assert running.missing() == 2
    running.on_hook(hook(0))
    assert running.missing() == 1
    assert running.posted[0] < running.answered[0] < running.arrived[0]


def test_no_more_are_under_way_than_may_be() -> None:
    running, one, other = load(5, under_way=2), Line(), Line()
    running.send(one)
    running.send(other)
    running.on_answer(one, ACCEPTED)
    running.on_answer(other, ACCEPTED)
    assert (one.sent, other.sent) == ([b"0"], [b"1"])
    running.on_hook(hook(1))
    assert (one.sent, other.sent) == ([b"0", b"2"], [b"1"])


def test_a_hook_that_comes_before_the_answer_frees_the_connection_when_the_answer_comes() -> None:
    running, line = load(2, under_way=1), Line()
    running.send(line)
    running.on_hook(hook(0))
    assert line.sent == [b"0"]
    running.on_answer(line, ACCEPTED)
    assert line.sent == [b"0", b"1"]


def test_what_is_refused_is_counted_and_not_waited_for() -> None:
    running, line = load(3, under_way=1), Line()
    running.send(line)
    running.on_answer(line, 503)
    assert line.sent == [b"0", b"1"]
    running.on_answer(line, 0)
    assert line.sent == [b"0", b"1"]
    assert running.refused == {503: 1, 0: 1}
    assert running.missing() == 0


def test_a_second_call_for_one_message_is_counted_and_changes_nothing() -> None:
    running, line = load(1), Line()
    running.send(line)
    running.on_answer(line, ACCEPTED)
    running.on_hook(hook(0))
    arrived = running.arrived[0]
    running.on_hook(hook(0))
    assert running.twice == 1
    assert running.arrived[0] == arrived


def test_it_says_when_there_is_nothing_left_to_send() -> None:
    running, line = load(1), Line()
    running.send(line)
    assert not running.used_up.is_set()
    running.on_answer(line, ACCEPTED)
    assert running.used_up.is_set()
