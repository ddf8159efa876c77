"""An invitation's links: a page for people, JSON for agents, and what they show when it is over."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from tests.scenarios.common import assert_problem, expire
from tests.scenarios.test_did_exchange import completed
from tests.stack import Client, Receiver, Stack
from tntcore.api.http import Request
from tntcore.app import App
from tntcore.config import ServiceLimits
from tntcore.messaging.invitations import invitation_url

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
FUTURE = "2099-01-31T12:00:00Z"


async def browse(stack: Stack, url: str, accept: str = BROWSER) -> tuple[int, dict[str, str], str]:
    async with stack.session.get(url, headers={"accept": accept}, allow_redirects=False) as response:
        return response.status, dict(response.headers), await response.text()


def here(stack: Stack, url: str) -> str:
    """A link, at the test's own server."""
    return stack.url + url[url.index("/api/") :]


@pytest.mark.parametrize("link", ["shortUrl", "invitationUrl"])
@pytest.mark.parametrize("form", ["out-of-band/1", "connections/1"])
async def test_a_browser_shows_a_page_for_people(stack: Stack, acme: Client, link: str, form: str) -> None:
    goal = {"goal": "Orders <b>now</b>"} if form == "out-of-band/1" else {}
    made = await acme.post("invitation", {"form": form, "label": "Acme & <i>Co</i>", "expiresAt": FUTURE, **goal})
    status, headers, page = await browse(stack, here(stack, made[link]))
    assert (status, headers["Content-Type"].partition(";")[0]) == (200, "text/html")
    assert "Acme &amp; &lt;i&gt;Co&lt;/i&gt; invites you to connect" in page
    assert ("Orders &lt;b&gt;now&lt;/b&gt;" in page) == bool(goal)
    assert "2099-01-31" in page
    assert "<svg" in page
    assert made["shortUrl"] in page
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert " style=" not in page
    assert not re.search(r"<script(?![^>]* src=)|<style| on[a-z]+=", page)
    files = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(files) == 3
    for file in files:
        if "#" in file:
            file, _, screen = file.partition("#")
            assert screen == f"/accept?{urlencode({'invitation': made['shortUrl']})}"
        assert (await browse(stack, here(stack, file)))[0] == 200


@pytest.mark.parametrize(
    "accept", ["application/json", "*/*", "application/json, text/html", "text/html;q=0.1, application/json"]
)
async def test_an_agent_gets_the_invitation(stack: Stack, acme: Client, accept: str) -> None:
    made = await acme.post("invitation", {"goal": "Orders"})
    invitation_id = made["invitation"]["@id"]
    for path in (made["shortUrl"], made["invitationUrl"], f"/api/i?id={invitation_id}"):
        answer = await stack.call("GET", here(stack, path).partition("/api/")[2], accept=accept)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
        assert answer.json() == made["invitation"]


async def test_the_short_url_makes_a_small_qr_code(acme: Client) -> None:
    made = await acme.post("invitation", {"label": "Acme"})
    svg = (await acme.call("GET", f"invitation/{made['uuid']}/qr.svg")).body.decode()
    width = re.search(r'width="([0-9]+)"', svg)
    assert width is not None
    assert int(width[1]) // 8 - 8 <= 37  # modules without the quiet zone


@pytest.mark.parametrize("link", ["shortUrl", "invitationUrl"])
async def test_a_tenant_accepts_by_either_url(stack: Stack, pair: tuple[Client, Client], link: str) -> None:
    acme, bolt = pair
    made = await acme.post("invitation", {})
    contact = await bolt.post("contact", {"invitationUrl": made[link]})
    await completed(bolt, contact["connectionUuid"])
    _, _, page = await browse(stack, here(stack, made[link]))
    assert "was used already" in page
    assert_problem(await bolt.call("POST", "contact", {"invitationUrl": made["shortUrl"]}), 404, "invitation-unknown")


# Short URLs of others.


@pytest.fixture
async def elsewhere() -> AsyncIterator[Receiver]:
    """A site that answers what it is told to."""
    site = Receiver()
    await site.start()
    yield site
    await site.stop()


@pytest.mark.parametrize(
    ("status", "link", "form"),
    [
        (301, "invitationUrl", "out-of-band/1"),
        (302, "invitationUrl", "connections/1"),
        (303, "shortUrl", "out-of-band/1"),
        (307, "didcomm", "out-of-band/2"),
        (308, "shortUrl", "connections/1"),
    ],
)
async def test_a_short_url_that_redirects(
    pair: tuple[Client, Client], elsewhere: Receiver, status: int, link: str, form: str
) -> None:
    acme, bolt = pair
    made = await acme.post("invitation", {"form": form})
    leads_to = made["invitationUrl"].replace("http://", "didcomm://") if link == "didcomm" else made[link]
    elsewhere.answer = lambda hook: (status, {"Location": leads_to if hook.path == "/b" else "b"})
    contact = await bolt.post("contact", {"invitationUrl": f"{elsewhere.url}/a"})
    await completed(bolt, contact["connectionUuid"])
    assert [(hook.path, hook.headers["Accept"]) for hook in elsewhere.got] == [
        ("/a", "application/json"),
        ("/b", "application/json"),
    ]


@pytest.mark.parametrize("form", ["out-of-band/1", "connections/1"])
async def test_a_short_url_that_answers_the_invitation(
    pair: tuple[Client, Client], elsewhere: Receiver, form: str
) -> None:
    acme, bolt = pair
    made = await acme.post("invitation", {"form": form})
    elsewhere.text = orjson.dumps(made["invitation"]).decode()
    contact = await bolt.post("contact", {"invitationUrl": f"{elsewhere.url}/ssi?id=5f0e3ffb"})
    await completed(bolt, contact["connectionUuid"])


@pytest.mark.parametrize(
    ("status", "location", "text", "reason"),
    [
        (302, "/again", "", "it leads on more than 4 times"),
        (302, "http://169.254.169.254/latest", "", "refused-address"),
        (302, "ftp://a.example/x", "", "invalid-url"),
        (302, "http://[", "", "no URL"),
        (302, None, "", "it answered 302"),
        (404, "/again", "", "it answered 404"),
        (200, None, "<html>Welcome</html>", "it answered no invitation"),
        (200, None, "https://a.example/elsewhere", "it answered no invitation"),
        (200, None, "x" * 300_000, "its answer is too large"),
    ],
)
async def test_a_short_url_that_leads_to_no_invitation(
    acme: Client, elsewhere: Receiver, status: int, location: str | None, text: str, reason: str
) -> None:
    elsewhere.answer = lambda hook: (status, {"Location": location} if location else {})
    elsewhere.text = text
    answer = await acme.call("POST", "contact", {"invitationUrl": f"{elsewhere.url}/a"})
    assert reason in assert_problem(answer, 400, "invitation-short-url")["detail"]
    assert len(elsewhere.got) <= 5


async def over(acme: Client, made: dict[str, Any], by: str) -> None:
    if by == "REVOKED":
        assert (await acme.call("DELETE", f"invitation/{made['uuid']}")).status == 204
        return
    await expire(acme, made["uuid"])


@pytest.mark.parametrize(("by", "words"), [("EXPIRED", "has expired"), ("REVOKED", "was withdrawn")])
async def test_an_invitation_that_is_over_says_so(stack: Stack, acme: Client, by: str, words: str) -> None:
    made = await acme.post("invitation", {"expiresAt": FUTURE})
    await over(acme, made, by)
    assert (await acme.get(f"invitation/{made['uuid']}"))["status"] == by
    assert [hit["status"] for hit in (await acme.get("invitation"))["hits"]] == [by]
    answer = await stack.call("GET", here(stack, made["shortUrl"]).partition("/api/")[2])
    assert words in assert_problem(answer, 410, "invitation-gone")["detail"]
    status, _, page = await browse(stack, here(stack, made["shortUrl"]))
    assert (status, words in page) == (410, True)


@pytest.mark.parametrize(
    "path",
    ["i/AAAAAAAAAAAAAAAAAAAAAA", "i/x", "i/%3Cb%3E", "i", "i?oob=bm9uZQ", "i?id=5f0e3ffb-3f92-4648-9868-0d6f8889e6f3"],
)
async def test_what_was_not_invited_here_is_not_shown(stack: Stack, path: str) -> None:
    assert_problem(await stack.call("GET", path), 404, "invitation-unknown")
    status, _, page = await browse(stack, f"{stack.url}/api/{path}")
    assert (status, "There is no such invitation" in page) == (404, True)


async def test_another_invitation_in_the_url_is_not_shown(stack: Stack, acme: Client) -> None:
    """A link cannot put words on our page."""
    made = await acme.post("invitation", {"label": "Acme"})
    forged = {**made["invitation"], "label": "Your bank"}
    _, _, page = await browse(stack, here(stack, invitation_url("https://x.example/api/i", forged)))
    assert "Acme invites you" in page
    assert "Your bank" not in page


async def test_a_time_that_is_past_is_refused(acme: Client) -> None:
    assert_problem(await acme.call("POST", "invitation", {"expiresAt": "2001-01-01T00:00:00Z"}), 400, "time-invalid")
    assert (await acme.get("invitation"))["hits"] == []


async def test_who_tries_many_links_is_told_to_wait(stack: Stack) -> None:
    services = stack.app.services
    app = App(replace(services, config=replace(services.config, limits=replace(ServiceLimits(), address=100))))
    headers = {"x-forwarded-for": "203.0.113.77", "accept": BROWSER}
    answers = [await app.http(Request("GET", "i/x", {}, headers, b"")) for _ in range(7)]
    assert [answer.status for answer in answers] == [404] * 5 + [429] * 2
    assert int(answers[-1].headers["retry-after"]) > 0
