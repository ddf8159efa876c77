"""What only a terminal shows, and what shells make of it."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from fcntl import ioctl
from pathlib import Path

import pytest
import segno

from tests.scenarios.cli.tool import Tool
from tests.stack import ROOT, Client, Receiver, Stack

SHELLS = [shell for shell in ("bash", "zsh", "fish") if shutil.which(shell)]


@pytest.fixture
async def client(stack: Stack) -> Client:
    return await stack.register("Acme")


@pytest.fixture
def tool(stack: Stack, client: Client, tmp_path: Path) -> Tool:
    return Tool(stack.url, tmp_path, {"TNT_SUBSCRIPTION_KEY": client.key, "TERM": "xterm-256color"})


async def at_terminal(
    tool: Tool,
    *arguments: str,
    columns: int = 120,
    typed: Sequence[str] = (),
    more: Mapping[str, str] = {},
    code: int = 0,
) -> str:
    """What a terminal of that width is sent by a command that ends with that code. `typed`: the answer to each `: `."""
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 60, columns, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tntcore", *arguments),
        cwd=tool.folder,
        env=tool.surroundings(**more),
        start_new_session=True,
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    shown, answers, closed = b"", list(typed), asyncio.Event()

    def readable() -> None:
        nonlocal shown
        try:
            data = os.read(master, 65536)
        except OSError:  # as Linux ends it
            data = b""
        shown += data
        if not data:
            asyncio.get_running_loop().remove_reader(master)
            closed.set()
        elif answers and shown.endswith(b": "):
            os.write(master, answers.pop(0).encode() + b"\n")

    asyncio.get_running_loop().add_reader(master, readable)
    try:
        async with asyncio.timeout(30):
            assert await process.wait() == code, shown
            await closed.wait()
    finally:
        if process.returncode is None:
            process.kill()
        asyncio.get_running_loop().remove_reader(master)
        os.close(master)
    return shown.decode().replace("\r\n", "\n")


def modules(lines: list[str]) -> list[list[bool]]:
    """The rows of a QR code that was drawn with half blocks; True is dark."""
    light = {"█": (True, True), "▀": (True, False), "▄": (False, True), " ": (False, False)}
    return [[not light[character][half] for character in line] for line in lines for half in (0, 1)]


@pytest.mark.parametrize("colours", [True, False])
async def test_the_qr_code_of_an_invitation(tool: Tool, colours: bool) -> None:
    shown = await at_terminal(tool, "invite", more={} if colours else {"NO_COLOR": "1"})
    if colours:
        drawn = re.findall(r"^\x1b\[38;5;231;48;5;16m(.*)\x1b\[0m$", shown, re.MULTILINE)
    else:
        assert "\x1b" not in shown
        drawn = re.findall(r"^[█▀▄ ]{20,}$", shown, re.MULTILINE)
    [url] = re.findall(r"^http\S+/api/i/\S+$", shown, re.MULTILINE)
    seen = modules(drawn)
    wanted = [[bool(module) for module in row] for row in segno.make_qr(url, error="l", boost_error=False).matrix]
    size = len(wanted)
    assert [row[2:-2] for row in seen[2 : 2 + size]] == wanted
    assert not any(any(row) for row in (*seen[:2], *seen[2 + size :])), "a quiet zone around it"


async def test_a_terminal_that_is_too_narrow_for_it(tool: Tool) -> None:
    shown = await at_terminal(tool, "invite", columns=30)
    assert "█" not in shown
    assert re.search(r"The QR code takes \d+ columns: make the terminal wider, or save it by --qr", shown)
    assert "/api/i/" in shown


async def test_however_long_an_invitation_is_its_code_fits(tool: Tool) -> None:
    shown = await at_terminal(tool, "invite", "--goal", "ä" * 1000, columns=80)
    assert len(re.findall(r"^.*█.*$", shown, re.MULTILINE)) > 10


async def test_tables_fit_where_they_can(stack: Stack, client: Client, tool: Tool) -> None:
    await client.post("contact", {"contact": {"email": "someone@partner.example", "displayName": "東京 " + "x" * 190}})
    shown = await at_terminal(tool, "contacts", columns=110)
    [heading, row] = [re.sub(r"\x1b\[\d*m", "", line) for line in shown.splitlines()]
    assert heading.startswith("NAME ")
    assert "東京 xxx" in row
    assert "…" in row
    # Two of its characters take two columns each.
    assert len(row) + 2 <= 110
    assert "\x1b[33mREQUESTED\x1b[0m" in shown
    assert "x" * 190 in (await tool.run("contacts")).output, "what goes elsewhere is whole"


async def test_a_replay_shows_how_far_it_is(stack: Stack, client: Client, tool: Tool) -> None:
    receiver = await client.webhook()
    receiver.answer = lambda hook: (410, {})
    other = await stack.register("Bolt")
    mine, _ = await stack.connect(other, client)
    await other.act(mine.contact_uuid, {"@type": "https://didcomm.org/basicmessage/1.0/message", "content": "x"})

    async def failed() -> bool:
        return bool((await client.get("delivery?status=FAILED"))["hits"])

    await stack.eventually(failed)
    receiver.answer = lambda hook: (200, {})
    [entry] = (await client.get("settings/DIDCOMM_WEBHOOK"))["setting"]
    await client.post(f"settings/DIDCOMM_WEBHOOK/{entry['id']}/enable", None, 200)
    shown = await at_terminal(tool, "replay", "--since", "1h")
    assert re.search(r"sending again +\[#+\] +1/1", shown), shown
    assert shown.endswith("1 queued again, 0 skipped\n")


async def test_keys_are_asked_for_and_not_shown(tool: Tool, client: Client) -> None:
    tool.environment["TNT_SUBSCRIPTION_KEY"] = ""
    shown = await at_terminal(tool, "profiles", "save", "typed", typed=[client.key, ""])
    assert "Subscription key: \nOperator key: \n" in shown
    assert client.key not in shown
    assert (await tool.run("identities", "--profile", "typed")).output


def complete(shell: str, script: Path, words: str) -> list[str]:
    """What the shell itself would offer."""
    if shell == "bash":
        command = f"""
            source {script}
            COMP_WORDS=({words} ''); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
            [[ "{words}" == *" " ]] || {{ unset 'COMP_WORDS[-1]'; COMP_CWORD=$((COMP_CWORD - 1)); }}
            _tnt_complete
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
    elif shell == "fish":
        command = f"source {script}; complete -C '{words}'"
    else:
        # zsh completes at a prompt alone, so its function is asked with the variables of one.
        command = f"""
            compdef() {{ : }}; _describe() {{ print -l -- $described }}; compadd() {{ print -l -- $plain }}
            _files() {{ print -- FILES }}
            source {script}
            words=({words} ''); CURRENT=$#words
            [[ "{words}" == *" " ]] || {{ words=({words}); CURRENT=$#words }}
            _tnt_complete
        """
    done = subprocess.run(
        [shell, "--norc" if shell == "bash" else "--no-config" if shell == "fish" else "-f", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(script.parent),
            "TNT_PROFILES": str(script.parent / "profiles.json"),
        },
        timeout=60,
    )
    assert done.stderr == ""
    return [re.split(r"[\t:]", line)[0].strip() for line in done.stdout.splitlines() if line.strip()]


@pytest.mark.parametrize("shell", SHELLS)
async def test_completion(shell: str, tmp_path: Path) -> None:
    tool = Tool("http://127.0.0.1:1", tmp_path)
    script = tmp_path / f"script.{shell}"
    script.write_text((await tool.run("completion", shell)).output)
    profiles = tmp_path / "profiles.json"
    await tool.run("profiles", "save", "acme", TNT_PROFILES=str(profiles), TNT_SUBSCRIPTION_KEY="tnt_x")
    assert complete(shell, script, "tnt del") == ["deliveries"]
    assert {"list", "replay", "forget"} == set(complete(shell, script, "tnt poison "))
    assert complete(shell, script, "tnt deliveries list --status F") == ["failed"]
    assert complete(shell, script, "tnt contacts list --profile a") == ["acme"]
    # `tnt` itself, in any folder.
    done = await asyncio.to_thread(
        subprocess.run,
        [shell, "-c", f"source {script}; tnt --help"],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "Commands" not in done.stderr
    assert "replay" in done.stdout


async def test_it_starts_without_the_service_and_what_takes_long(tmp_path: Path) -> None:
    code = "import sys, tntcore.cli.main; print(*sys.modules)"
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
    )
    loaded = set(done.stdout.decode().split())
    ours = {name for name in loaded if name.partition(".")[0] == "tntcore"}
    assert {name for name in ours if not name.startswith("tntcore.cli")} == {"tntcore", "tntcore.version"}
    slow = {"requests", "segno", "azure", "aiohttp", "cryptography", "nacl"}
    assert not {name.partition(".")[0] for name in loaded} & slow


async def test_only_the_group_of_the_command_line_is_imported() -> None:
    """`uv sync --only-group cli` is enough for it."""
    import ast
    import tomllib

    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    allowed = {re.split(r"[<>=]", each)[0].replace("pynacl", "nacl") for each in groups["cli"]} | {"tntcore"}
    for file in [ROOT / "tntcore" / "__main__.py", *(ROOT / "tntcore" / "cli").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.partition(".")[0] in allowed | sys.stdlib_module_names, (file, name)
                assert name == "tntcore.version" or not name.startswith("tntcore.") or name.startswith("tntcore.cli"), (
                    file,
                    name,
                )


async def test_a_slow_service_is_not_mistaken_for_none(tool: Tool) -> None:
    """It asks once more after a 503, when it was told to."""
    receiver = Receiver()
    await receiver.start()
    answers = [(503, {"Retry-After": "1"}), (200, {"content-type": "application/json"})]
    receiver.answer = lambda hook: answers.pop(0)
    receiver.text = '{"hits": [], "next": null, "total": {"value": 0, "relation": "eq"}}'
    done = await tool.run("contacts", TNT_URL=receiver.url)
    await receiver.stop()
    assert done.errors == "no contacts\n"
    assert len(receiver.got) == 2


@pytest.mark.parametrize("columns", [80, 60])
async def test_every_table_fits_the_terminal(stack: Stack, client: Client, tool: Tool, columns: int) -> None:
    other = await stack.register("Bolt " + "b" * 80)
    mine, _ = await stack.connect(client, other)
    receiver = await client.webhook()
    receiver.answer = lambda hook: (503, {})
    await client.act(mine.contact_uuid, {"@type": "https://didcomm.org/basicmessage/1.0/message", "content": "x" * 90})
    nouns = ("contacts", "connections", "messages", "deliveries", "webhooks", "keys", "identities", "invitations")
    for noun in nouns:
        shown = await at_terminal(tool, noun, columns=columns, more={"NO_COLOR": "1"})
        assert "\x1b" not in shown
        assert max(len(line) for line in shown.splitlines()) <= columns, shown
        if noun in ("contacts", "messages"):
            assert re.search(r" [0-9a-f]{8}( |$)", shown, re.MULTILINE), shown
    await receiver.stop()


async def test_no_colour_in_errors_either(tool: Tool) -> None:
    for more, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        shown = await at_terminal(tool, "contacts", "show", "abc", more=more, code=2)
        assert "error:" in shown
        assert ("\x1b" in shown) is coloured


@pytest.mark.parametrize("version", ["2, 7, 18", "3, 10, 4", "3, 14, 0"])
async def test_a_python_that_cannot_run_it(tmp_path: Path, version: str) -> None:
    code = f"import runpy, sys; sys.version_info = ({version}, 'final', 0); sys.argv = ['tnt', '--help']"
    code += "; runpy.run_module('tntcore', run_name='__main__')"
    command = [sys.executable, "-c", code]
    env = {"PYTHONPATH": str(ROOT)}
    done = await asyncio.to_thread(subprocess.run, command, cwd=tmp_path, env=env, capture_output=True, check=False)
    assert done.returncode == 2, done.stderr
    assert b"Use Python 3.11, 3.12 or 3.13" in done.stderr
    assert b"Traceback" not in done.stderr


async def test_a_python_without_its_packages(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    command = [sys.executable, "-S", "-m", "tntcore", "--help"]
    env = {"PYTHONPATH": str(ROOT)}
    done = await asyncio.to_thread(subprocess.run, command, cwd=tmp_path, env=env, capture_output=True, check=False)
    assert done.returncode == 2
    assert b"has no package 'click'" in done.stderr
    assert b"activate" in done.stderr
