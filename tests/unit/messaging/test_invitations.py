"""Invitations: those of other agents, our own, and what is none."""

from __future__ import annotations

import base64
import json
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tntcore.dids.document import DidService, PublicKey
from tntcore.dids.key import did_key_to_verkey, verkey_to_did_key
from tntcore.dids.multiformats import encode_verkey
from tntcore.errors import Problem
from tntcore.messaging.invitations import (
    CONNECTIONS,
    MAX_BYTES,
    MAX_REQUESTS,
    MAX_SERVICES,
    TYPE_1,
    TYPE_2,
    TYPE_CONNECTION,
    InvitationMessage,
    inline_service,
    invitation_url,
    make_connection_invitation,
    make_invitation_1,
    make_invitation_2,
    qr_png,
    qr_svg,
    read_invitation,
    read_invitation_url,
)

VECTORS = Path(__file__).parents[2] / "vectors" / "invitations"
VERKEYS = [encode_verkey(PublicKey("Ed25519", bytes([n]) * 32)) for n in range(1, 5)]
DIDEXCHANGE = ["https://didcomm.org/didexchange/1.1", "https://didcomm.org/didexchange/1.0"]
ENDPOINT = "https://agent.example/didcomm"
OFFER = {"@type": "https://didcomm.org/issue-credential/2.0/offer-credential", "@id": "o1", "~thread": {"pthid": "i1"}}
NOW = 1_800_000_000

CONNECTION = {
    "@type": TYPE_CONNECTION,
    "@id": "i1",
    "label": "Alice",
    "recipientKeys": VERKEYS[:1],
    "routingKeys": VERKEYS[1:3],
    "serviceEndpoint": ENDPOINT,
}
OOB = {
    "@type": TYPE_1,
    "@id": "i1",
    "label": "Alice",
    "handshake_protocols": DIDEXCHANGE,
    "services": ["did:web:agent.example"],
}
OOB_2 = {"type": TYPE_2, "id": "i1", "from": "did:web:agent.example", "body": {}}


def vectors() -> list[Any]:
    return [
        pytest.param(entry, id=f"{path.stem} {entry['name']}")
        for path in sorted(VECTORS.glob("*.json"))
        for entry in json.loads(path.read_bytes())["invitations"]
    ]


def encode(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def problem(call: Callable[..., object], *arguments: Any, **named: Any) -> str:
    with pytest.raises(Problem) as caught:
        call(*arguments, **named)
    assert caught.value.status == 400
    return caught.value.code.removeprefix("invitation-")


@pytest.mark.parametrize("entry", vectors())
def test_invitations_of_other_agents(entry: Mapping[str, Any]) -> None:
    sent = entry["invitation"]
    invitation = read_invitation(sent)
    assert (invitation.id, invitation.label, invitation.raw) == (sent["@id"], sent["label"], sent)
    assert list(invitation.handshake_protocols) == sent.get("handshake_protocols", [CONNECTIONS])
    assert list(invitation.requests) == [item["data"]["json"] for item in sent.get("requests~attach", [])]
    for service, block in zip(invitation.services, sent.get("services", [sent]), strict=True):
        if isinstance(service, str):
            assert service == block
            continue
        assert service.endpoint == block["serviceEndpoint"]
        for keys, texts in ((service.recipient_keys, "recipientKeys"), (service.routing_keys, "routingKeys")):
            expected = [key if ":" not in key else did_key_to_verkey(key) for key in block.get(texts, [])]
            assert list(keys) == expected
    if "url" in entry:
        assert read_invitation_url(entry["url"]) == invitation


def test_the_vectors_have_each_kind_of_service() -> None:
    read = [read_invitation(parameter.values[0]["invitation"]) for parameter in vectors()]
    services = [service for invitation in read for service in invitation.services]
    assert {service.split(":")[1] for service in services if isinstance(service, str)} == {"peer"}
    assert any(isinstance(service, DidService) and service.routing_keys for service in services)
    assert any(invitation.requests and not invitation.handshake_protocols for invitation in read)


def test_a_connections_invitation() -> None:
    invitation = read_invitation(CONNECTION)
    assert invitation == InvitationMessage(
        "connections/1",
        "i1",
        (inline_service(ENDPOINT, VERKEYS[0], VERKEYS[1:3]),),
        "Alice",
        handshake_protocols=(CONNECTIONS,),
    )
    legacy = {**CONNECTION, "@type": "did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/connections/1.0/invitation"}
    assert read_invitation(legacy) == invitation
    without_id = {name: value for name, value in CONNECTION.items() if name != "@id"}
    assert read_invitation(without_id).id == ""


def test_a_connections_invitation_by_did() -> None:
    for did in ("did:sov:WgWxqztrNooG92RXvxSTWv", "WgWxqztrNooG92RXvxSTWv"):
        invitation = read_invitation({"@type": TYPE_CONNECTION, "@id": "i1", "label": "Alice", "did": did})
        assert invitation.services == ("did:sov:WgWxqztrNooG92RXvxSTWv",)
    mediated = {**CONNECTION, "serviceEndpoint": "did:sov:WgWxqztrNooG92RXvxSTWv;route"}
    [service] = read_invitation(mediated).services
    assert isinstance(service, DidService)
    assert service.endpoint == "did:sov:WgWxqztrNooG92RXvxSTWv;route"


def test_an_out_of_band_1_invitation() -> None:
    did_key = verkey_to_did_key(VERKEYS[0])
    invitation = read_invitation(
        {
            "@type": "did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/out-of-band/1.0/invitation",
            "@id": "i1",
            "goal": "To issue",
            "goal_code": "issue-vc",
            "imageUrl": "https://agent.example/logo.png",
            "accept": ["didcomm/aip2;env=rfc19", "didcomm/aip1"],
            "handshake_protocols": [
                "did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/didexchange/1.1/",
                "https://didcomm.org/didexchange/1.1",
                "https://didcomm.org/connections/1.0",
                7,
            ],
            "~timing": {"expires_time": "2027-01-15 09:00:00+01:00"},
            "services": [
                {"serviceEndpoint": ENDPOINT, "recipientKeys": [did_key], "accept": ["didcomm/aip1"]},
                "WgWxqztrNooG92RXvxSTWv",
            ],
        }
    )
    assert invitation.handshake_protocols == ("https://didcomm.org/didexchange/1.1", CONNECTIONS)
    assert invitation.accept == ("didcomm/aip2;env=rfc19", "didcomm/aip1")
    assert (invitation.goal, invitation.goal_code) == ("To issue", "issue-vc")
    assert invitation.image_url == "https://agent.example/logo.png"
    assert invitation.expires_at == NOW
    assert invitation.services == (
        DidService("#inline", "did-communication", ENDPOINT, (VERKEYS[0],), (), ("didcomm/aip1",)),
        "did:sov:WgWxqztrNooG92RXvxSTWv",
    )


def test_drafts_of_out_of_band_1_had_names_in_the_singular() -> None:
    attachment = {"@id": "r", "data": {"base64": base64.b64encode(json.dumps(OFFER).encode()).decode()}}
    draft = {"@type": TYPE_1, "@id": "i1", "request~attach": [attachment], "service": ["did:web:agent.example"]}
    invitation = read_invitation(draft)
    assert invitation.requests == (OFFER,)
    assert invitation.services == ("did:web:agent.example",)


def test_an_out_of_band_2_invitation() -> None:
    body = {"goal": "To issue", "goal_code": "issue-vc", "accept": ["didcomm/v2"]}
    attached = [{"id": "r", "media_type": "application/json", "data": {"json": OFFER}}]
    invitation = read_invitation({**OOB_2, "body": body, "attachments": attached, "expires_time": NOW})
    assert invitation == InvitationMessage(
        "out-of-band/2",
        "i1",
        ("did:web:agent.example",),
        goal="To issue",
        goal_code="issue-vc",
        accept=("didcomm/v2",),
        from_did="did:web:agent.example",
        requests=(OFFER,),
        expires_at=NOW,
    )


@pytest.mark.parametrize(
    "service",
    [
        {"type": "DIDCommMessaging", "serviceEndpoint": ENDPOINT, "recipientKeys": VERKEYS[:1]},
        {"serviceEndpoint": "ws://agent.example", "recipientKeys": VERKEYS[:1]},
        {"serviceEndpoint": {"uri": ENDPOINT}, "recipientKeys": VERKEYS[:1]},
        {"serviceEndpoint": ENDPOINT},
        {"serviceEndpoint": ENDPOINT, "recipientKeys": ["did:key:z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc"]},
        {"serviceEndpoint": ENDPOINT, "recipientKeys": ["did:sov:WgWxqztrNooG92RXvxSTWv#1"]},
        {"serviceEndpoint": ENDPOINT, "recipientKeys": VERKEYS[:1], "routingKeys": ["x"]},
        {"serviceEndpoint": ENDPOINT, "recipientKeys": VERKEYS[:1] * 33},
        "agent.example",
        "did:web:agent.example#service",
        None,
    ],
)
def test_a_service_that_cannot_be_used_is_left_out_unless_it_is_the_only_one(service: Any) -> None:
    good = inline_service(ENDPOINT, VERKEYS[0])
    both = [service, {"serviceEndpoint": ENDPOINT, "recipientKeys": [verkey_to_did_key(VERKEYS[0], fragment=True)]}]
    assert read_invitation({**OOB, "services": both}).services == (good,)
    assert problem(read_invitation, {**OOB, "services": [service]}) == "service"


@pytest.mark.parametrize(
    ("invitation", "code"),
    [
        ({}, "malformed"),
        ([], "malformed"),
        (None, "malformed"),
        ({**OOB, "x": {1: 2}}, "malformed"),
        ({**OOB, "x": "\ud800"}, "malformed"),
        ({**OOB, "x": json.loads("[" * 120 + "]" * 120)}, "malformed"),
        ({**OOB, "x": json.loads("[" * 900 + "]" * 900)}, "malformed"),
        ({**OOB, "x": "a" * MAX_BYTES}, "too-large"),
        ({**OOB, "services": ["did:web:a.example"] * (MAX_SERVICES + 1)}, "too-large"),
        ({**OOB, "handshake_protocols": [f"https://didcomm.org/p/1.{n}" for n in range(17)]}, "too-large"),
        ({**OOB, "requests~attach": [{"data": {"json": OFFER}}] * (MAX_REQUESTS + 1)}, "too-large"),
        ({**OOB, "@type": None}, "type"),
        ({**OOB, "@type": "https://didcomm.org/out-of-band/2.0/invitation"}, "type"),
        ({**OOB, "@type": "https://didcomm.org/out-of-band/1.1/handshake-reuse"}, "type"),
        ({**OOB, "@type": "https://elsewhere.example/out-of-band/1.1/invitation"}, "type"),
        ({**OOB_2, "type": "https://didcomm.org/out-of-band/1.1/invitation"}, "type"),
        ({**OOB_2, "type": "https://didcomm.org/connections/1.0/invitation"}, "type"),
        ({**OOB, "@id": ""}, "incomplete"),
        ({**OOB, "@id": "a" * 1025}, "incomplete"),
        ({**OOB, "handshake_protocols": []}, "incomplete"),
        ({**OOB, "handshake_protocols": [], "requests~attach": [{"data": {"links": ["x"]}}]}, "incomplete"),
        ({**OOB_2, "id": 1}, "incomplete"),
        ({**OOB_2, "from": None}, "incomplete"),
        ({**OOB_2, "from": "did:web:agent.example#key-1"}, "incomplete"),
        ({**OOB, "services": []}, "service"),
        ({**OOB, "services": None}, "service"),
        ({**CONNECTION, "recipientKeys": []}, "service"),
        ({**CONNECTION, "serviceEndpoint": "agent.example"}, "service"),
        ({**OOB, "requests~attach": [{"data": {"base64": "!"}}]}, "request"),
        ({**OOB, "requests~attach": [{"data": {"base64": "e30"}}, {"data": {"json": []}}]}, "request"),
        ({**OOB, "requests~attach": [{}]}, "request"),
        ({**OOB_2, "attachments": [{"data": {"base64": "ew"}}]}, "request"),
    ],
)
def test_what_is_wrong_is_told(invitation: Any, code: str) -> None:
    assert problem(read_invitation, invitation) == code


@pytest.mark.parametrize(
    ("timing", "expected"),
    [
        ({"expires_time": "2027-01-15T08:00:00Z"}, NOW),
        ({"expires_time": "2027-01-15 08:00:00.250000Z"}, NOW),
        ({"expires_time": "2027-01-15T08:00"}, NOW),
        ({"expires_time": "soon"}, None),
        ({"expires_time": NOW}, None),
        ({}, None),
        ([], None),
    ],
)
def test_expiry_of_a_v1_invitation(timing: Any, expected: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "EST5")
    time.tzset()
    try:
        assert read_invitation({**OOB, "~timing": timing}).expires_at == expected
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("value", [OOB, OOB_2, CONNECTION, {**OOB, "label": "Zoë ???~~~"}])
@pytest.mark.parametrize("name", ["oob", "c_i", "_oob"])
def test_it_is_read_from_a_url_in_whatever_base64(value: Mapping[str, Any], name: str) -> None:
    expected = read_invitation(value)
    padded = encode(value)
    standard = padded.replace("-", "+").replace("_", "/")
    assert ("???" in str(value)) == ({"+", "/"} <= set(standard))
    for text in (padded, padded.rstrip("="), standard, quote(standard, safe=""), quote(padded, safe="")):
        for url in (f"https://a.example/x?{name}={text}", f"didcomm://invite?a=b&{name}={text}#top"):
            assert read_invitation_url(f" {url}\n") == expected
    assert read_invitation_url("\n ".join((padded[:40], padded[40:]))) == expected
    assert read_invitation_url(json.dumps(value, indent=1)) == expected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("https://a.example/8E6nEcJ26TTE", "short-url"),
        ("https://a.example/ssi?id=5f0e3ffb", "short-url"),
        ("https://a.example/?_oobid=5f0e3ffb", "short-url"),
        ("https://a.example/?oob=", "short-url"),
        ("https://a.example/?oob=!", "malformed"),
        ("https://a.example/?oob=" + encode([]), "malformed"),
        ("https://a.example/?oob=e30", "malformed"),
        ("https://a.example/?" + "a=b&" * 100, "malformed"),
        ("http://[", "short-url"),
        ("", "malformed"),
        ("{", "malformed"),
        ('{"@type": "\ud800"}', "malformed"),
        ("a" * (2 * MAX_BYTES + 1), "too-large"),
        ("A" * (MAX_BYTES * 4 // 3 // 4 * 4 + 8), "too-large"),
        ("https://a.example/?oob=" + encode({"@type": "x"}), "type"),
    ],
)
def test_what_is_no_url_of_an_invitation(text: str, code: str) -> None:
    assert problem(read_invitation_url, text) == code


def test_what_an_out_of_band_1_invitation_looks_like() -> None:
    made = make_invitation_1(
        id="i1",
        label="Alice",
        services=[inline_service(ENDPOINT, VERKEYS[0], [VERKEYS[1]]), "did:web:agent.example"],
        handshake_protocols=DIDEXCHANGE,
        requests=[OFFER],
        goal="To issue",
        goal_code="issue-vc",
        expires_at=NOW,
    )
    assert made == {
        "@type": "https://didcomm.org/out-of-band/1.1/invitation",
        "@id": "i1",
        "label": "Alice",
        "goal_code": "issue-vc",
        "goal": "To issue",
        "accept": ["didcomm/aip1", "didcomm/aip2;env=rfc19"],
        "handshake_protocols": DIDEXCHANGE,
        "requests~attach": [{"@id": "request-0", "mime-type": "application/json", "data": {"json": OFFER}}],
        "services": [
            {
                "id": "#inline",
                "type": "did-communication",
                "recipientKeys": [verkey_to_did_key(VERKEYS[0])],
                "routingKeys": [verkey_to_did_key(VERKEYS[1])],
                "serviceEndpoint": ENDPOINT,
            },
            "did:web:agent.example",
        ],
        "~timing": {"expires_time": "2027-01-15T08:00:00Z"},
    }
    assert make_invitation_1(id="i1", services=["did:web:a.example"], requests=[OFFER], accept=()).keys() == {
        "@type",
        "@id",
        "requests~attach",
        "services",
    }


def test_what_an_out_of_band_2_invitation_looks_like() -> None:
    made = make_invitation_2(id="i1", from_did="did:web:agent.example", requests=[OFFER], goal="g", goal_code="c")
    assert made == {
        "type": "https://didcomm.org/out-of-band/2.0/invitation",
        "id": "i1",
        "from": "did:web:agent.example",
        "body": {"goal_code": "c", "goal": "g", "accept": ["didcomm/v2"]},
        "attachments": [{"id": "request-0", "media_type": "application/json", "data": {"json": OFFER}}],
    }
    bare = make_invitation_2(id="i1", from_did="did:web:agent.example", accept=(), expires_at=NOW)
    assert bare == {**OOB_2, "expires_time": NOW}


def test_what_a_connections_invitation_looks_like() -> None:
    service = inline_service(ENDPOINT, VERKEYS[0], VERKEYS[1:3])
    assert make_connection_invitation(id="i1", label="Alice", service=service) == CONNECTION
    by_did = make_connection_invitation(id="i1", label="Alice", service="did:web:agent.example", image_url="https://x")
    assert by_did == {
        "@type": TYPE_CONNECTION,
        "@id": "i1",
        "label": "Alice",
        "did": "did:web:agent.example",
        "imageUrl": "https://x",
    }


def test_what_could_not_be_read_again_is_not_made() -> None:
    assert problem(make_invitation_1, id="i1", services=["did:web:a.example"]) == "incomplete"
    assert problem(make_invitation_1, id="i1", services=[], handshake_protocols=DIDEXCHANGE) == "service"
    assert problem(make_invitation_2, id="i1", from_did="agent.example") == "incomplete"
    large = [{"@type": "x", "text": "a" * MAX_BYTES}]
    assert problem(make_invitation_2, id="i1", from_did="did:web:a.example", requests=large) == "too-large"


TEXT = st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
ID = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
DIDS = st.sampled_from(["did:web:agent.example", "did:peer:4zQmNmm:z4qS", "did:sov:WgWxqztrNooG92RXvxSTWv"])
KEYS = st.lists(st.sampled_from(VERKEYS), max_size=3)
INLINE = st.builds(inline_service, st.sampled_from([ENDPOINT, "did:web:m.example"]), st.sampled_from(VERKEYS), KEYS)
REQUESTS = st.lists(st.dictionaries(st.text(max_size=5), st.integers(0, 9) | st.text(max_size=9)), max_size=3)
EXPIRY = st.none() | st.integers(0, 4_000_000_000)


@given(
    id=ID,
    services=st.lists(DIDS | INLINE, min_size=1, max_size=3),
    requests=REQUESTS,
    accept=st.lists(st.sampled_from(["didcomm/aip1", "didcomm/v2"]), max_size=2),
    texts=st.tuples(TEXT, TEXT, TEXT, TEXT),
    expires_at=EXPIRY,
)
def test_an_out_of_band_1_invitation_comes_back_through_its_url(
    id: str,
    services: Sequence[str | DidService],
    requests: Sequence[Mapping[str, Any]],
    accept: Sequence[str],
    texts: tuple[str | None, ...],
    expires_at: int | None,
) -> None:
    label, goal, goal_code, image = texts
    raw = make_invitation_1(
        id=id,
        services=services,
        handshake_protocols=DIDEXCHANGE,
        requests=requests,
        label=label,
        goal=goal,
        goal_code=goal_code,
        accept=accept,
        image_url=image,
        expires_at=expires_at,
    )
    read = read_invitation_url(invitation_url("https://a.example/i", raw))
    assert read.raw == raw
    assert read == InvitationMessage(
        form="out-of-band/1",
        id=id,
        services=tuple(services),
        label=label,
        goal=goal,
        goal_code=goal_code,
        handshake_protocols=tuple(DIDEXCHANGE),
        accept=tuple(accept),
        requests=tuple(requests),
        image_url=image,
        expires_at=expires_at,
    )


@given(id=ID, did=DIDS, requests=REQUESTS, goal=TEXT, goal_code=TEXT, expires_at=EXPIRY)
def test_an_out_of_band_2_invitation_comes_back_through_its_url(
    id: str,
    did: str,
    requests: Sequence[Mapping[str, Any]],
    goal: str | None,
    goal_code: str | None,
    expires_at: int | None,
) -> None:
    raw = make_invitation_2(
        id=id, from_did=did, requests=requests, goal=goal, goal_code=goal_code, expires_at=expires_at
    )
    read = read_invitation_url(invitation_url("https://a.example/i?lang=en", raw))
    assert read.raw == raw
    assert read == InvitationMessage(
        form="out-of-band/2",
        id=id,
        services=(did,),
        goal=goal,
        goal_code=goal_code,
        accept=("didcomm/v2",),
        from_did=did,
        requests=tuple(requests),
        expires_at=expires_at,
    )


@given(id=ID, label=ID, service=DIDS | INLINE, image=TEXT, expires_at=EXPIRY)
def test_a_connections_invitation_comes_back_through_its_url(
    id: str, label: str, service: str | DidService, image: str | None, expires_at: int | None
) -> None:
    raw = make_connection_invitation(id=id, label=label, service=service, image_url=image, expires_at=expires_at)
    read = read_invitation_url(invitation_url("https://a.example/i", raw))
    assert read.raw == raw
    assert read == InvitationMessage(
        form="connections/1",
        id=id,
        services=(service,),
        label=label,
        handshake_protocols=(CONNECTIONS,),
        image_url=image,
        expires_at=expires_at,
    )


@pytest.mark.parametrize(("raw", "name"), [(OOB, "oob"), (OOB_2, "_oob"), (CONNECTION, "c_i")])
def test_a_url_has_the_parameter_of_its_form_and_no_padding(raw: Mapping[str, Any], name: str) -> None:
    url = urlsplit(invitation_url("https://a.example/i?lang=en", raw))
    parameters = parse_qs(url.query)
    assert parameters.keys() == {"lang", name}
    text = parameters[name][0]
    assert json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))) == raw
    assert url.query.count("=") == 2
    assert b" " not in base64.urlsafe_b64decode(text + "==")


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(VERKEYS)
HOSTILE = st.recursive(
    LEAVES | st.sampled_from(["did:web:a", ENDPOINT, "WgWxqztrNooG92RXvxSTWv", "e30", "did-communication"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "serviceEndpoint", "recipientKeys", "routingKeys", "accept", "data", "json", "base64", "id"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
MEMBERS = sorted({*OOB, *OOB_2, *CONNECTION, "requests~attach", "attachments", "~timing", "did", "accept", "service"})


@given(base=st.sampled_from([OOB, OOB_2, CONNECTION]), changes=st.dictionaries(st.sampled_from(MEMBERS), HOSTILE))
@settings(max_examples=300)
def test_whatever_the_members_are_only_problems_are_raised(base: dict[str, Any], changes: dict[str, Any]) -> None:
    check_reading(read_invitation, {**base, **changes})


@given(text=st.text() | st.binary().map(lambda data: "https://a/?oob=" + base64.b64encode(data).decode()))
@settings(max_examples=300)
def test_whatever_the_text_is_only_problems_are_raised(text: str) -> None:
    check_reading(read_invitation_url, text)


def check_reading(read: Callable[[Any], InvitationMessage], value: Any) -> None:
    problem, invitation = None, None
    try:
        invitation = read(value)
    except Problem as refused:
        problem = refused
    if invitation is None:
        assert problem is not None
        assert (problem.status, problem.code.split("-")[0]) == (400, "invitation")
    else:
        assert invitation.services
        assert invitation.handshake_protocols or invitation.requests or invitation.from_did


def test_qr_codes_are_pictures_of_their_text() -> None:
    url = invitation_url("https://a.example/i", make_invitation_1(id="i", services=["did:web:a"], requests=[OFFER]))
    picture = qr_png(url)
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", picture[16:24])
    assert width == height
    # 17 + 4 * version modules and 4 of quiet zone at each side, 8 pixels each.
    assert (width // 8 - 8 - 17) % 4 == width % 8 == 0
    drawing = ElementTree.fromstring(qr_svg(url))
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    assert drawing.get("width") == drawing.get("height") == str(width)
    assert qr_png(url + "a") != picture
    assert qr_svg(url + "a") != qr_svg(url)


def test_a_qr_code_holds_so_much() -> None:
    assert qr_png("a" * 2953)
    assert problem(qr_png, "a" * 2954) == "too-large"
    assert problem(qr_svg, "a" * 2954) == "too-large"
