"""Odd requests, as bytes, and what an HTTP server answers to them.

answers.json has what the real Functions host answered: host 4.1037 with Microsoft's Python worker 4.34, in front of
this service at commit 7234cd7 with its catch-all function renamed so that it sorts last.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

Headers = Sequence[tuple[str, str]]

OF_THE_SERVER = ("date", "server", "content-length", "transfer-encoding", "connection", "keep-alive")
JSON = ("Content-Type", "application/json")
ENVELOPE = ("Content-Type", "application/didcomm-envelope-enc")
MIB = 1 << 20


def request(method: str, path: str, headers: Headers = (), body: bytes = b"", length: bool = True) -> bytes:
    """HTTP/1.1, each character of `path` and `headers` as one byte; `length`: with the length of a body."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers)]
    if body and length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin1") + b"\r\n\r\n" + body


PATHS = {
    "plain": "/api/contact",
    "slash at the end": "/api/contact/",
    "upper case prefix": "/API/contact",
    "upper case noun": "/api/CONTACT",
    "double slash": "/api//contact",
    "dots": "/api/x/../contact",
    "%2F": "/api/contact%2Fabc",
    "%2e%2e": "/api/contact/%2e%2e/identity",
    "%00": "/api/contact/%00",
    "%ff": "/api/contact/%ff",
    "utf-8, quoted": "/api/contact/%C3%A9",
    "utf-8, raw": "/api/contact/\xc3\xa9",
    "plus": "/api/contact?email=a+b",
    "parameter twice": "/api/contact?limit=1&limit=2",
    "parameter empty": "/api/contact?limit=",
    "parameter without =": "/api/contact?limit",
    "bad quoting": "/api/contact?email=%zz",
    "parameter not utf-8": "/api/contact?email=%ff",
    "semicolon": "/api/contact?limit=1;x=2",
    "parameter in upper case": "/api/contact?LIMIT=1",
    "query of 7 kB": "/api/contact?email=" + "a" * 7000,
    "query of 9 kB": "/api/contact?email=" + "a" * 9000,
    "code in the query": "/api/contact?code=abc",
}
PUBLIC = (
    "/",
    "/api",
    "/api/",
    "/admin/host/status",
    "/admin/functions",
    "/runtime/webhooks/x",
    "/.well-known/did.json",
    "/api/docs/",
    "/favicon.ico",
)
NAME = b'{"displayName":"x"}'
MULTIPART = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n'


def cases(tenant: Headers, operator: str) -> Iterator[tuple[str, bytes]]:
    """Each with its name in answers.json. `tenant` has the headers of a tenant, `operator` is an
    operator's key: then it was the host's own."""
    yield from _of_headers(tenant)
    yield from _of_bodies(tenant)
    yield from _of_methods(tenant)
    yield from _of_operators(tenant, operator)
    yield from _of_the_door()


def _of_headers(t: Headers) -> Iterator[tuple[str, bytes]]:
    for label, path in PATHS.items():
        yield label, request("GET", path, t)
    yield "headers twice", request("GET", "/api/contact", [*t, *t])
    yield "key headers in upper case", request("GET", "/api/contact", [(name.upper(), value) for name, value in t])
    for label, name, value in (
        ("header in latin-1", "x-y", "\xe9"),
        ("header in utf-8", "idempotency-key", "\xc3\xa9"),
        ("header of 20 kB", "x-y", "a" * 20000),
        ("header of 40 kB", "x-y", "a" * 40000),
        ("a bearer token", "Authorization", "Bearer abc"),
        ("x-ms-client-principal", "x-ms-client-principal", "eyJh"),
    ):
        yield label, request("GET", "/api/contact", [*t, (name, value)])
    yield "120 headers", request("GET", "/api/contact", [*t, *((f"x-{number}", "a") for number in range(120))])
    yield "HTTP/1.0", request("GET", "/api/contact", t).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    yield "no Host", b"GET /api/health HTTP/1.1\r\n\r\n"
    yield "absolute target", request("GET", "http://127.0.0.1/api/health")
    yield "foreign Host", b"GET /api/health HTTP/1.1\r\nHost: other.example\r\n\r\n"
    for path in PUBLIC:
        yield f"GET {path}", request("GET", path)


def _of_bodies(t: Headers) -> Iterator[tuple[str, bytes]]:
    for label, headers, body in (
        ("POST without a body", [JSON], b""),
        ("POST of length 0", [JSON, ("Content-Length", "0")], b""),
        ("POST broken JSON", [JSON], b"{"),
        ("POST with a byte order mark", [JSON], b"\xef\xbb\xbf" + NAME),
        ("POST utf-16", [(JSON[0], JSON[1] + "; charset=utf-16")], NAME.decode().encode("utf-16")),
        ("POST latin-1", [(JSON[0], JSON[1] + "; charset=latin1")], '{"displayName":"é"}'.encode("latin1")),
        ("POST text", [("Content-Type", "text/plain")], NAME),
        ("POST without a type", [], NAME),
        ("POST a form", [("Content-Type", "application/x-www-form-urlencoded")], b"displayName=x"),
        ("POST multipart", [("Content-Type", "multipart/form-data; boundary=x")], MULTIPART),
        ("POST gzip", [JSON, ("Content-Encoding", "gzip")], b"\x1f\x8b\x08\x00"),
    ):
        yield label, request("POST", "/api/contact", [*t, *headers], body)
    chunked, chunks = ("Transfer-Encoding", "chunked"), b"13\r\n" + NAME + b"\r\n0\r\n\r\n"
    yield "POST chunked", request("POST", "/api/contact", [*t, JSON, chunked], chunks, length=False)
    empty = b"2\r\n{}\r\n0\r\n\r\n"
    yield "POST chunked envelope", request("POST", "/api/didcomm", [ENVELOPE, chunked], empty, length=False)
    yield "POST chunked with a length", request("POST", "/api/contact", [*t, JSON, chunked], chunks)
    for label, lengths in {"POST two lengths": ("19", "18"), "POST negative length": ("-1",)}.items():
        headers = [*t, JSON, *(("Content-Length", length) for length in lengths)]
        yield label, request("POST", "/api/contact", headers, NAME, length=False)
    yield "GET with a body", request("GET", "/api/contact", [*t, JSON], b'{"a":1}')
    yield "DELETE with a body", request("DELETE", "/api/contact/x", [*t, JSON], b'{"a":1}')


def _of_methods(t: Headers) -> Iterator[tuple[str, bytes]]:
    for method in ("HEAD", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "get", "FOO"):
        yield f"{method} contact", request(method, "/api/contact", t)
        yield f"{method} didcomm", request(method, "/api/didcomm")
    asks = [("Origin", "http://x"), ("Access-Control-Request-Method", "GET")]
    yield "CORS preflight", request("OPTIONS", "/api/contact", asks)
    yield "method override", request("POST", "/api/contact/x", [*t, ("X-HTTP-Method-Override", "DELETE")])


def _of_operators(t: Headers, operator: str) -> Iterator[tuple[str, bytes]]:
    key = ("tnt-operator-key", operator)
    yield "operator without a key", request("GET", "/api/principal/x")
    yield "operator with a wrong key", request("GET", "/api/principal/x", [("tnt-operator-key", "no")])
    yield "operator", request("GET", "/api/principal/x", [key])
    for label, path in {"POST": "principal", "POST slash": "principal/", "POST upper case": "PRINCIPAL"}.items():
        yield f"operator {label}", request("POST", f"/api/{path}", [key, JSON], NAME)
    yield "operator by ?code=", request("POST", f"/api/principal?code={operator}", [JSON], NAME)
    yield "operator HEAD", request("HEAD", "/api/principal", [key])
    yield "operator PATCH", request("PATCH", "/api/principal/x", [key])
    yield "tenant at /principalx", request("GET", "/api/principalx", t)
    yield "poison", request("GET", "/api/poison", [key])


def _of_the_door() -> Iterator[tuple[str, bytes]]:
    yield "didcomm GET", request("GET", "/api/didcomm")
    yield "didcomm/x", request("POST", "/api/didcomm/x", [ENVELOPE], b"{}")
    yield "didcomm slash", request("POST", "/api/didcomm/", [ENVELOPE], b"{}")
    yield "didcomm without a body", request("POST", "/api/didcomm", [ENVELOPE])
    yield "didcomm 9 MiB", request("POST", "/api/didcomm", [ENVELOPE], b"{" + b" " * (9 * MIB))
    yield "didcomm 11 MiB", request("POST", "/api/didcomm", [ENVELOPE], b"{" + b" " * (11 * MIB))
    announced = [ENVELOPE, ("Content-Length", str(101 * MIB))]
    yield "didcomm 101 MiB announced", request("POST", "/api/didcomm", announced, b"{", length=False)


def ask(port: int, raw: bytes) -> dict[str, Any]:
    """Status, headers but for the server's own, and the first 300 characters of the body, each as `plain` has it."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), 15) as connection:
        # What is refused before it was read has its answer all the same.
        with suppress(ConnectionError):
            connection.sendall(raw)
        try:
            while chunk := connection.recv(1 << 16):
                got += chunk
                if _is_whole(got, raw.startswith(b"HEAD")):
                    break
        except ConnectionError:
            assert got, "closed without an answer"
    head, _, body = got.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return {
        "status": first.split(" ")[1],
        "headers": {name: plain(value) for name, value in headers.items() if name not in OF_THE_SERVER},
        "body": plain(body.decode("utf-8", "replace"))[: 60 if b"<!DOCTYPE html>" in body else 300],
    }


def _is_whole(got: bytes, is_head: bool) -> bool:
    head, end, body = got.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return bool(end) and (is_head or b" 204 " in head[:20] or (length is not None and len(body) >= int(length[1])))


def plain(text: str) -> str:
    """Without what is another each time: addresses, uuids, keys, times."""
    for pattern, name in (
        (r"127\.0\.0\.1(:|%3A)\d+", "HOST"),
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
        (r"tnt_[\w-]{20,}", "KEY"),
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    ):
        text = re.sub(pattern, name, text)
    return text
