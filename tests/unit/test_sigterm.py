"""SIGTERM in a process of somebody else's: each case in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tntcore.sigterm import OnSigterm

ROOT = Path(__file__).parents[2]
BEGIN = """
import asyncio, os, signal, sys, threading, time
from tntcore.sigterm import OnSigterm

def say(text):
    print(text, flush=True)
"""
# What ends takes half a second, in the loop that `begin` tells.
LOOP = """
async def main():
    loop = asyncio.get_running_loop()
    def begin(done):
        async def end():
            say("ending")
            await asyncio.sleep(0.5)
            say("ended")
            done()
        asyncio.run_coroutine_threadsafe(end(), loop)
    install(begin)
    await asyncio.sleep(60)
"""
MAIN = "def install(begin): say('ready' if OnSigterm(begin, 5).install() else 'not installed')\n" + LOOP
CASES = {
    "the signal's own action": ("", MAIN + "asyncio.run(main())", ["ending", "ended"], -signal.SIGTERM),
    "a handler that ends the process": (
        "signal.signal(signal.SIGTERM, lambda *_: (say('theirs'), sys.exit(7)))",
        MAIN + "asyncio.run(main())",
        ["ending", "ended", "theirs"],
        7,
    ),
    "a handler that does not": (
        "signal.signal(signal.SIGTERM, lambda *_: (say('theirs'), threading.Timer(1, os._exit, (8,)).start()))",
        MAIN + "asyncio.run(main())",
        ["ending", "ended", "theirs"],
        8,
    ),
    "the loop is in another thread": (
        "def install(begin): kept.append(begin)\nkept = []\n",
        LOOP
        + """
threading.Thread(target=asyncio.run, args=(main(),), daemon=True).start()
while not kept: time.sleep(0.01)
OnSigterm(kept[0], 5).install()
say("ready")
time.sleep(60)
""",
        ["ending", "ended"],
        -signal.SIGTERM,
    ),
    "it is imported in another thread": (
        "",
        """
other = threading.Thread(target=lambda: say(OnSigterm(print, 5).install()))
other.start()
other.join()
say("ready")
time.sleep(60)
""",
        ["False"],
        -signal.SIGTERM,
    ),
    "the loop stands still": (
        "",
        """
async def main():
    loop = asyncio.get_running_loop()
    OnSigterm(lambda done: loop.call_soon_threadsafe(done), 0.5).install()
    say("ready")
    while True: time.sleep(0.01)
asyncio.run(main())
""",
        [],
        128 + signal.SIGTERM,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_orderly_end_comes_before_what_the_process_does(name: str) -> None:
    before, code, told, status = CASES[name]
    with subprocess.Popen(
        [sys.executable, "-c", BEGIN + before + "\n" + code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            if line.strip() == "ready":
                break
            lines.append(line.strip())
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        lines += process.stdout.read().split()
    assert (lines, process.returncode) == (told, status)


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert not OnSigterm(lambda done: None, 1).install()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_another_thread_leaves_it_as_it_is() -> None:
    before = signal.getsignal(signal.SIGTERM)
    installed: list[bool] = []
    thread = threading.Thread(target=lambda: installed.append(OnSigterm(lambda done: None, 1).install()))
    thread.start()
    thread.join()
    assert installed == [False]
    assert signal.getsignal(signal.SIGTERM) is before
