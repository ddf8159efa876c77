import logging

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseTimeoutError,
)
from azure.core.rest import HttpRequest

from tntcore.cloud import Cloud
from tntcore.config import CloudIdentity
from tntcore.storage.outage import Outage, is_away
from tntcore.storage.transactions import TransactionError


def answered(kind: type[HttpResponseError], status: int | None) -> HttpResponseError:
    error = kind("no")
    error.status_code = status
    return error


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (ServiceRequestError("refused"), True),
        (ServiceResponseTimeoutError("silent"), True),
        (answered(HttpResponseError, 500), True),
        (answered(HttpResponseError, 503), True),
        (answered(HttpResponseError, 429), True),
        (answered(HttpResponseError, None), True),
        (answered(HttpResponseError, 400), False),
        (answered(ResourceNotFoundError, 404), False),
        (answered(ClientAuthenticationError, 403), False),
        (TransactionError(503, -1, "ServerBusy"), True),
        (TransactionError(400, 0, "PropertyValueTooLarge"), False),
        (TransactionError(0, -1, "Unknown"), False),
        (KeyError("x"), False),
        (TimeoutError(), False),
    ],
)
def test_what_is_storages_fault(error: Exception, away: bool) -> None:
    assert is_away(error) == away


def test_it_says_so_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    outage = Outage(lambda: now)
    with caplog.at_level(logging.WARNING):
        for now in (0.0, 1.0, 30.0, 59.0, 61.0, 62.0):  # noqa: B007  read by the clock
            outage.saw(ServiceRequestError("refused"))
    assert [record.getMessage() for record in caplog.records] == [
        "storage is away (ServiceRequestError): 1 requests were refused",
        "storage is away (ServiceRequestError): 4 requests were refused",
    ]
    assert not any(record.exc_info for record in caplog.records)


async def test_a_call_after_the_end_of_a_process_is_one_for_another_process() -> None:
    cloud = Cloud(CloudIdentity())
    transport = cloud.transport(of_storage=True)
    await cloud.close()
    with pytest.raises(ServiceRequestError) as raised:
        await transport.send(HttpRequest("GET", "http://127.0.0.1:9/"))
    assert is_away(raised.value)
