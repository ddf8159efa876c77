"""Whatever a caller typed and nobody reads is refused with the name that was meant: it would change what is done."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.common import assert_problem
from tests.stack import Client, Stack
from tntcore.tenancy import preferences


@pytest.fixture(scope="module")
async def client(stack: Stack) -> Client:
    return await stack.register("Typist")


@pytest.mark.parametrize(
    ("header", "meant"),
    [
        ("Idempotency-Keys", "idempotency-key"),
        ("X-Idempotency-Key", "idempotency-key"),
        ("Idempotent-Key", "idempotency-key"),
        ("If-Matches", "if-match"),
        ("IfNoneMatch", "if-none-match"),
        ("TNT-Subscription-Keys", "tnt-subscription-key"),
    ],
)
async def test_a_header_that_is_nearly_ours(client: Client, header: str, meant: str) -> None:
    answer = await client.call("POST", "api-token", {"name": header}, **{header: "x"})
    assert f"{meant!r}" in assert_problem(answer, 400, "header-unknown")["detail"]
    tokens = await client.get("api-token")
    assert header not in [token["name"] for token in tokens["hits"]]


async def test_a_header_with_an_underscore(client: Client) -> None:
    headers = {"tnt-subscription-key": client.key, "content-type": "application/json", "idempotency_key": "x"}
    url = f"{client.stack.url}/api/api-token"
    async with client.stack.session.post(url, data=b"{}", headers=headers) as answer:
        assert (answer.status, (await answer.json())["title"]) == (400, "header unknown")


async def test_other_headers_are_nobodys_business(client: Client) -> None:
    others = {"If-Modified-Since": "x", "If-None-Match": '"x"', "X-Request-Id": "x", "Ocp-Apim-Subscription-Key": "x"}
    assert (await client.call("GET", "api-token", **others)).status == 200


@pytest.mark.parametrize("header", ["If-Match", "If-None-Match", "If-Unmodified-Since"])
async def test_a_condition_that_nobody_checks(client: Client, header: str) -> None:
    answer = await client.call("PUT", f"identity/{client.identity['uuid']}", {"displayName": "B"}, **{header: "*"})
    assert header in assert_problem(answer, 400, "header-unsupported")["detail"]


@pytest.mark.parametrize(
    "given",
    [
        "basicmessage",
        "basicmesage",
        "basicmessage/1.0",
        "basicmessage/1.0/message",
        "https://didcomm.org/basicmessage/1.0",
        "https://didcomm.org/basicmessage/1.0/message/",
        " https://didcomm.org/basicmessage/1.0/message",
        "did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/basicmessage",
    ],
)
async def test_a_piece_of_a_message_type(client: Client, given: str) -> None:
    for request in ({"@type": given, "content": "Hello"}, {"type": given, "body": {"content": "Hello"}}):
        form = {"form": "out-of-band/2"} if "type" in request else {}
        answer = await client.call("POST", "invitation", {"requests": [request], **form})
        detail = assert_problem(answer, 400, "message-invalid")["detail"]
        assert "did you mean 'https://didcomm.org/basicmessage/1.0/message'?" in detail


@pytest.mark.parametrize(
    "given",
    ["request-credential", "issue-credential", "https://example.com/a", "urn:a", "https://didcomm.org/a/9/b"],
)
async def test_other_message_types(client: Client, given: str) -> None:
    await client.post("invitation", {"requests": [{"@type": given}]})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("retentionHours", "retentionDays"),
        ("messageRetentionDays", "retentionDays"),
        ("autoAcceptRetention", "retentionDays"),
        ("autoAcceptContacts", "autoAcceptConnections"),
        ("autoVerfy", "autoVerify"),
    ],
)
async def test_a_preference_that_is_nearly_a_known_one(client: Client, name: str, meant: str) -> None:
    answer = await client.call("PUT", "settings/PRINCIPAL_SETTINGS", {"setting": {name: 1}})
    assert f"(did you mean {meant!r}?)" in assert_problem(answer, 400, "setting-invalid")["detail"]


CREDENTIAL: dict[str, Any] = {
    "@context": ["https://www.w3.org/2018/credentials/v1"],
    "type": ["VerifiableCredential"],
    "credentialSubject": {},
}
DESCRIPTOR: dict[str, Any] = {"id": "a", "constraints": {"fields": [{"path": ["$.type"]}]}}
ASKED: dict[str, Any] = {"name": {"name": "name"}}


async def test_a_context_that_is_nearly_a_known_one(client: Client) -> None:
    credential = {**CREDENTIAL, "@context": [*CREDENTIAL["@context"], "https://w3id.org/citizenship/1"]}
    data = {"credential": credential, "options": {"proofType": "Ed25519Signature2020"}}
    answer = await client.call("POST", "credential", {"invitation": {}, "data": data})
    detail = assert_problem(answer, 400, "credential-invalid")["detail"]
    assert "(did you mean 'https://w3id.org/citizenship/v1'?)" in detail
    assert "POST /api/context" in detail


@pytest.mark.parametrize(
    ("path", "format_", "data", "where", "meant"),
    [
        ("credential", "ld-proof", {"credential": CREDENTIAL, "option": {}}, "data", "options"),
        ("credential", "jwt-vc", {"credential": CREDENTIAL, "options": {"proofFormt": "jwt"}}, "data", "proofFormat"),
        ("credential", "plain", {"attachment": 1, "mimetype": "text/plain"}, "data", "mimeType"),
        ("credential", "anoncreds", {"credentialDefinitonId": "a"}, "data", "credentialDefinitionId"),
        ("proof-request", "anoncreds", {"requested_attribute": ASKED}, "data", "requested_attributes"),
        (
            "proof-request",
            "anoncreds",
            {"requested_attributes": {"name": {"name": "name", "restriction": []}}},
            "data.requested_attributes.name",
            "restrictions",
        ),
        (
            "proof-request",
            "dif",
            {"presentation_definition": {"input_descriptors": [{**DESCRIPTOR, "constraint": {}}]}},
            "data.presentation_definition.input_descriptors[0]",
            "constraints",
        ),
        (
            "proof-request",
            "dif",
            {"presentation_definition": {"input_descriptors": [{"id": "a", "constraints": {"field": []}}]}},
            "data.presentation_definition.input_descriptors[0].constraints",
            "fields",
        ),
        (
            "proof-request",
            "dif",
            {
                "presentation_definition": {
                    "input_descriptors": [{"id": "a", "constraints": {"fields": [{"path": ["$.a"], "filters": {}}]}}]
                }
            },
            "data.presentation_definition.input_descriptors[0].constraints.fields[0]",
            "filter",
        ),
        (
            "proof-request",
            "dif",
            {"presentation_definition": {"input_descriptors": [DESCRIPTOR]}, "options": {"chalenge": "a"}},
            "data.options",
            "challenge",
        ),
    ],
)
async def test_a_name_in_the_data_of_a_credential_or_proof(
    client: Client, path: str, format_: str, data: dict[str, Any], where: str, meant: str
) -> None:
    """A misspelled constraint would not be checked, and the proof be verified without it."""
    answer = await client.call("POST", path, {"invitation": {}, "format": format_, "data": data})
    detail = assert_problem(answer, 400, "member-unknown")["detail"]
    assert detail.startswith(where)
    assert f"did you mean {meant!r}?" in detail


async def test_a_setting_that_is_too_large_is_compared_with_nothing(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """190,000 names that are nearly known ones, but not quite, took 7 s of the event loop."""
    compared: list[str] = []
    monkeypatch.setattr(preferences, "hint", lambda name, *_: compared.append(name))
    setting = {f"snoitcennoctpeccaotua{number}": 1 for number in range(3_000)}
    answer = await client.call("PUT", "settings/PRINCIPAL_SETTINGS", {"setting": setting})
    assert_problem(answer, 413, "setting-too-large")
    assert compared == []
