"""The batch format, without a service. What the service makes of it is in tests/contract/test_storage.py."""

from __future__ import annotations

import json

import pytest

from tntcore.storage.transactions import Operation, TransactionError, decode, encode, encode_values


def test_values_carry_the_types_that_json_cannot_express() -> None:
    assert encode_values({"text": "é", "flag": True, "count": 2**40, "data": b"\x00\xff", "none": None}) == {
        "text": "é",
        "flag": True,
        "count": "1099511627776",
        "count@odata.type": "Edm.Int64",
        "data": "AP8=",
        "data@odata.type": "Edm.Binary",
    }


def test_each_kind_of_operation_is_the_request_that_the_service_documents() -> None:
    body = encode(
        "https://account.example",
        "records",
        "tenant",
        [
            Operation("create", "a~1", {"x": "1"}),
            Operation("merge", "a~2", {"x": "1"}, 'W/"5"'),
            Operation("upsert", "a~3", {"x": "1"}),
            Operation("delete", "a~4", {}),
        ],
        "b",
    ).decode()
    parts = body.split("--changeset_b")
    assert len(parts) == 6
    assert "POST https://account.example/records HTTP/1.1" in parts[1]
    assert json.loads(parts[1].rsplit("\r\n\r\n", 1)[1]) == {"PartitionKey": "tenant", "RowKey": "a~1", "x": "1"}
    assert "MERGE https://account.example/records(PartitionKey='tenant',RowKey='a~2') HTTP/1.1" in parts[2]
    assert 'If-Match: W/"5"\r\n' in parts[2]
    assert "MERGE " in parts[3]
    assert "If-Match" not in parts[3]
    assert "DELETE " in parts[4]
    assert "If-Match: *\r\n" in parts[4]
    assert body.startswith("--batch_b\r\n")
    assert body.endswith("--changeset_b--\r\n--batch_b--\r\n")


@pytest.mark.parametrize(
    ("key", "written"), [("it's", "it%27%27s"), ("a/b#c?d", "a%2Fb%23c%3Fd"), ("é\r\nX: y", "%C3%A9%0D%0AX%3A%20y")]
)
def test_a_key_cannot_leave_its_place_in_the_request(key: str, written: str) -> None:
    body = encode("https://account.example", "records", key, [Operation("delete", key, {})], "b").decode()
    assert f"(PartitionKey='{written}',RowKey='{written}')" in body


def test_a_refusal_names_its_operation() -> None:
    answer = (
        "--x\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 409 Conflict\r\n\r\n"
        '{"odata.error":{"code":"EntityAlreadyExists","message":{"lang":"en-US","value":"7:The specified entity"}}}'
    )
    with pytest.raises(TransactionError) as refused:
        decode(answer, 9)
    assert (refused.value.status, refused.value.index, refused.value.code) == (409, 7, "EntityAlreadyExists")


@pytest.mark.parametrize("answer", ["", "HTTP/1.1 204 No Content\r\n", "garbage"])
def test_an_answer_that_does_not_account_for_every_operation_is_no_success(answer: str) -> None:
    with pytest.raises(TransactionError):
        decode(answer, 2)
