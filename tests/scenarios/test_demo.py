"""`make run` as its user meets it: what it prints can be pasted, and it leaves nothing behind."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from devtools.demo.receiver import is_genuine
from devtools.ports import free_ports, is_free
from tntcore.tenancy.webhooks import new_secret, sign

ROOT = Path(__file__).parents[2]
READY = "Ctrl-C ends everything."


class Demo:
    """A running demo, its output in a file so that nobody has to empty a pipe."""

    def __init__(self, folder: Path, options: tuple[str, ...]) -> None:
        self.ports = free_ports(5)
        names = ("--port", "--hook-port", "--blob-port", "--queue-port", "--table-port")
        given = [text for name, port in zip(names, self.ports, strict=True) for text in (name, str(port))]
        settings = {name: value for name, value in os.environ.items() if not name.startswith(("TNT_", "Azure"))}
        self._file = folder / "output.txt"
        with self._file.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "devtools.demo", *given, *options],
                cwd=ROOT,
                env={**settings, "TNT_MASTER_KEY_FILE": str(folder / "master-keys.json")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._file.read_text()

    def until(self, text: str, times: int = 1, seconds: float = 60) -> str:
        deadline = time.monotonic() + seconds
        while self.output.count(text) < times:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)
        return self.output

    def nothing_is_left(self) -> None:
        """Nobody listens on any of its ports; a process that was killed may take a moment to be gone."""
        deadline = time.monotonic() + 3
        while taken := [port for port in self.ports if not is_free(port)]:
            assert time.monotonic() < deadline, taken
            time.sleep(0.05)

    def curls(self) -> list[list[str]]:
        """The calls to paste, as a shell takes them apart."""
        joined = self.output.replace("\\\n", " ")
        return [shlex.split(line) for line in joined.splitlines() if line.startswith("curl ")]


Start = Callable[..., Demo]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Demo] = []

    def run(*options: str) -> Demo:
        started.append(Demo(tmp_path, options))
        return started[-1]

    yield run
    for demo in started:
        if demo.process.poll() is None:
            # Twice is at once, storage emulator included.
            demo.process.terminate()
            demo.process.terminate()
            demo.process.wait(20)


def paste(words: list[str]) -> requests.Response:
    """Does what curl would do with these words."""
    headers = dict(words[index + 1].split(": ", 1) for index, word in enumerate(words) if word == "-H")
    body = words[words.index("-d") + 1] if "-d" in words else None
    url = next(word for word in words if word.startswith("http"))
    return requests.request("POST" if body else "GET", url, headers=headers, data=body, timeout=10)


@pytest.mark.parametrize(("wire", "media_type"), [("v1", "didcomm-envelope-enc"), ("v2", "didcomm-encrypted+json")])
def test_a_message_is_seen_from_action_to_webhook_and_the_printed_calls_work(
    start: Start, wire: str, media_type: str
) -> None:
    demo = start("--wire", wire)
    output = demo.until(READY)
    sent, delivered = output.split("POST didcomm", 1)[1].split("Bolt's webhook was called", 1)
    assert media_type in sent
    assert "Hello Bolt" not in sent
    assert '"content": "Hello Bolt, this is Acme."' in delivered
    act, look_at_action, look_at_messages = demo.curls()
    again = paste(act)
    assert again.status_code == 201, again.text
    assert again.json()["data"]["message"]["content"] == "Hello again."
    demo.until("Bolt's webhook was called", times=2, seconds=60)
    assert '"content": "Hello again."' in demo.until('"content": "Hello again."', seconds=60)
    looked = paste(look_at_action)
    assert looked.status_code == 200
    assert looked.json()["uuid"] in look_at_action[2]
    assert paste(look_at_messages).json()["total"]["value"] == 2
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(20) == 0, demo.output
    demo.nothing_is_left()
    assert "Traceback" not in demo.output


def test_a_second_ctrl_c_ends_it_at_once_and_leaves_nothing_behind(start: Start) -> None:
    demo = start()
    demo.until(READY)
    # An answer that is on its way holds up the orderly end, so that the second signal comes before it.
    with socket.create_connection(("127.0.0.1", demo.ports[0])) as half_sent:
        half_sent.sendall(b"POST /api/action HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
        time.sleep(0.3)
        demo.process.send_signal(signal.SIGINT)
        demo.until("Stopping")
        demo.process.send_signal(signal.SIGINT)
        assert demo.process.wait(3) == 130
    demo.nothing_is_left()


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_while_it_starts_leaves_nothing_behind(start: Start, sign: signal.Signals) -> None:
    demo = start()
    demo.until("Starting the storage emulator")
    time.sleep(0.5)
    demo.process.send_signal(sign)
    assert demo.process.wait(20) in (0, 130)
    demo.nothing_is_left()
    assert "Traceback" not in demo.output


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "devtools.demo", "--port", str(port)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"demo: The service: port {port} is in use; stop what uses it or choose another with PORT=number\n"
    )


def test_it_runs_a_second_time_on_the_data_of_the_first(start: Start, tmp_path: Path) -> None:
    data = tmp_path / "data"
    keys = []
    for _ in range(2):
        demo = start("--data", str(data))
        demo.until(READY)
        keys += re.findall(r"tnt_[\w-]{43}", demo.output)[:1]
        if len(keys) == 2:
            # The first run's key is still good, though it is not shown again.
            url = f"http://127.0.0.1:{demo.ports[0]}/api/message"
            assert requests.get(url, headers={"tnt-subscription-key": keys[0]}, timeout=10).status_code == 200
        demo.process.send_signal(signal.SIGINT)
        assert demo.process.wait(20) == 0, demo.output
    assert len(set(keys)) == 2


def test_the_receiver_takes_what_the_service_signs_and_nothing_else() -> None:
    secret, other = new_secret(os.urandom), new_secret(os.urandom)
    headers = sign([other, secret], "msg", 1_000_000, b"{}")
    assert is_genuine(secret, headers, b"{}", 1_000_200)
    assert not is_genuine(secret, headers, b"{ }", 1_000_200)
    assert not is_genuine(secret, {**headers, "webhook-id": "other"}, b"{}", 1_000_200)
    assert not is_genuine(secret, {**headers, "webhook-timestamp": "1000001"}, b"{}", 1_000_200)
    assert not is_genuine(secret, {}, b"{}", 1_000_200)
    assert not is_genuine(secret, sign([other], "msg", 1_000_000, b"{}"), b"{}", 1_000_200)
    assert not is_genuine(secret, headers, b"{}", 1_000_301)
