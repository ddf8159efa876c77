"""No URL, name or redirect leads to an address inside."""

import asyncio
import ipaddress
import socket

import pytest
from aiohttp import web
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from yarl import URL

from tests.unit.egress.servers import LOOPBACK, Names, code_of, echo, opened, serving
from tntcore.egress import Egress, EgressError, is_public


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
async def test_nobody_is_led_inside_by_a_redirect(status: int) -> None:
    inside = []

    async def secret(request: web.Request) -> web.Response:
        inside.append(request.path)
        return web.Response()

    async with serving(secret) as target:

        async def redirect(request: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Location": f"http://127.0.0.1:{target.port}/latest/meta-data"})

        async with serving(redirect) as server, opened(Egress(LOOPBACK)) as egress:
            url = f"http://127.0.0.1:{server.port}/"
            assert (await egress.request("GET", url)).status == status
            assert await code_of(egress.fetch(url)) == "status"
    assert inside == []


async def test_a_name_that_leads_elsewhere_a_moment_later_is_not_believed() -> None:
    """While the first answer is remembered the checked address is used; afterwards the next one is checked as well."""
    inside = []

    async def secret(request: web.Request) -> web.Response:
        inside.append(request.path)
        return web.Response()

    async with serving(secret) as server:
        names = Names(rebind_example=[["127.0.0.2"], ["127.0.0.1"]])
        allow = [ipaddress.ip_network("127.0.0.2/32")]
        async with opened(Egress(allow, lookup=names)) as egress:
            url = f"http://rebind.example:{server.port}/"
            for _ in range(2):
                # Nobody listens there: the address that was checked is the one that was tried.
                assert await code_of(egress.request("POST", url, body=b"x", timeout=2)) in ("connect", "timeout")
            assert names.asked == ["rebind.example"]
            await egress.close()
            assert await code_of(egress.request("POST", url, body=b"x", timeout=2)) == "refused-address"
    assert inside == []


LITERALS = [
    "127.0.0.1",
    "127.0.0.1.",
    "2130706433",
    "0177.0.0.1",
    "0x7f.0.0.1",
    "0x7f.1",
    "0x7f000001",
    "017700000001",
    "127.1",
    "127.0.1",
    "127.0.0.01",
    "0",
    "0.0.0.0",
    "１２７.0.0.1",
    "127。0。0。1",
    "①②⑦.0.0.1",
    "%31%32%37.0.0.1",
    "127%2e0.0.1",
    "localhost",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[fe80::1%25lo]",
    "[fe80::1%lo]",
]


@pytest.mark.parametrize("host", LITERALS)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_spelling_of_this_machine_reaches_it(host: str, scheme: str) -> None:
    connections = 0

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    # All addresses, both families: whatever gets out of the process to this machine is seen.
    listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    server = await asyncio.start_server(accept, sock=listener)
    port = listener.getsockname()[1]
    async with opened(Egress(allow_http=True)) as egress:
        code = await code_of(egress.request("POST", f"{scheme}://{host}:{port}/", body=b"x", timeout=5))
        assert code in ("refused-address", "invalid-url", "dns")
        await asyncio.sleep(0)
    server.close()
    assert connections == 0


NOT_PUBLIC = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.255", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "168.63.129.16", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1",
    "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1",
    "::ffff:8.8.8.8", "::ffff:10.0.0.1", "::7f00:1", "64:ff9b::a00:1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808", "100::1", "2001::1", "2001:10::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "5f00::1",
    "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "2606:4700::1%1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1",
    "168.63.129.17", "192.0.1.1", "2606:4700::1111", "2a00:1450::1", "64:ff9b::808:808",
]  # fmt: skip


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses())
def test_nothing_is_public_that_the_standard_library_knows_as_private(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
    ):
        nat64 = isinstance(address, ipaddress.IPv6Address) and address in ipaddress.IPv6Network("64:ff9b::/96")
        assert nat64 or not is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
async def test_a_name_with_one_address_inside_is_refused(address: str) -> None:
    names = Names(mixed_example=[["1.1.1.1", address]])
    async with opened(Egress(lookup=names)) as egress:
        assert await code_of(egress.request("POST", "https://mixed.example/", timeout=5)) == "refused-address"
    assert names.asked == ["mixed.example"]


async def test_an_address_is_not_looked_up_again_between_check_and_use() -> None:
    names = Names(rebind_example=[["127.0.0.1"], ["10.0.0.1"]])
    async with serving(echo) as server, opened(Egress(LOOPBACK, lookup=names)) as egress:
        answer = await egress.request("GET", f"http://rebind.example:{server.port}/")
        assert answer.status == 202
        assert names.asked == ["rebind.example"]
        await egress.close()
        assert await code_of(egress.request("GET", f"http://rebind.example:{server.port}/")) == "refused-address"


async def test_only_the_allowed_networks_are_open() -> None:
    names = Names(inside_example=[["127.0.0.1"]])
    allow = [ipaddress.ip_network("127.0.0.2/32"), ipaddress.ip_network("fd00::/8")]
    async with serving(echo) as server, opened(Egress(allow, lookup=names)) as egress:
        for url in (f"http://127.0.0.1:{server.port}/", f"http://inside.example:{server.port}/"):
            assert await code_of(egress.request("GET", url)) == "refused-address"


async def test_http_is_for_allowed_networks_only() -> None:
    names = Names(public_example=[["1.1.1.1"]])
    async with opened(Egress(lookup=names)) as egress:
        assert await code_of(egress.request("GET", "http://public.example/")) == "invalid-url"
    async with opened(Egress(LOOPBACK, lookup=names)) as egress:
        assert await code_of(egress.request("GET", "http://public.example/")) == "refused-address"
        assert await code_of(egress.request("GET", "http://1.1.1.1/")) == "refused-address"


async def test_the_refusal_names_the_host_and_no_inner_address() -> None:
    async with opened(Egress(lookup=Names(a_example=[["10.11.12.13"]]))) as egress:
        with pytest.raises(EgressError) as caught:
            await egress.request("GET", "https://a.example/")
    assert "10.11" not in str(caught.value)
    assert caught.value.detail.endswith("(a.example:443)")
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "https://",
        "https:///path",
        "ftp://example.com/",
        "ws://example.com/",
        "file:///etc/passwd",
        "//example.com/",
        "https://user@example.com/",
        "https://user:secret@example.com/",
        "https://example.com:99999/",
        "https://example.com:0/",
        "https://[::1/",
        "https://" + "a" * 5000,
        "javascript:alert(1)",
    ],
)
async def test_invalid_urls(url: str) -> None:
    async with opened(Egress(lookup=Names())) as egress:
        with pytest.raises(EgressError) as caught:
            await egress.request("GET", url)
    assert caught.value.code == "invalid-url"
    assert "secret" not in str(caught.value)


def leads_out(url: str) -> bool:
    try:
        return is_public(ipaddress.ip_address(URL(url).raw_host or ""))
    except ValueError:
        return False


@settings(max_examples=150)
@given(
    st.text(max_size=30)
    | st.from_regex(r"https?://[^/]{0,20}/.{0,5}", fullmatch=True)
    | st.from_regex(r"https://[0-9a-fx.:\[\]%]{1,20}", fullmatch=True)
)
def test_any_text_as_url_is_refused_with_a_code(url: str) -> None:
    async def attempt() -> str:
        async with opened(Egress(lookup=Names())) as egress:
            return await code_of(egress.request("GET", url, timeout=5))

    assume(not leads_out(url))
    assert asyncio.run(attempt()) in ("invalid-url", "dns", "refused-address")
