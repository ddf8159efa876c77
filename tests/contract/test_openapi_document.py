"""The description of the API is OpenAPI 3.1, as a validator has it that had no part in making it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from openapi_spec_validator import OpenAPIV30SpecValidator, OpenAPIV31SpecValidator
from openapi_spec_validator.validation.exceptions import OpenAPIValidationError

from tests.stack import Stack
from tntcore.api.json_schema import REFERENCE
from tntcore.api.openapi_3_0 import to_3_0


def written(stack: Stack) -> Any:
    return orjson.loads(orjson.dumps(stack.described.document))


def test_the_document_is_openapi(stack: Stack) -> None:
    OpenAPIV31SpecValidator(written(stack)).validate()


def test_the_document_in_3_0_is_openapi(stack: Stack) -> None:
    document = to_3_0(written(stack))
    OpenAPIV30SpecValidator(document).validate()
    action = document["components"]["schemas"]["ActionView"]["properties"]
    assert action["data"] == {"allOf": [{"$ref": "#/components/schemas/MessageData"}], "nullable": True}
    page = document["components"]["schemas"]["ActionPage"]["properties"]
    assert page["next"] == {"type": "string", "nullable": True}
    assert page["total"] == {"$ref": "#/components/schemas/Total"}
    # What NSwag made classes of that refuse what comes.
    schemas = document["components"]["schemas"]
    assert schemas["Attempt"]["properties"]["answer"]["nullable"] is True
    assert schemas["Setting"]["properties"]["setting"] == {"nullable": True}
    assert schemas["ExchangeOrInvitation"] == {
        "anyOf": [{"$ref": REFERENCE + one} for one in ("Exchange", "Invitation")]
    }


def test_what_is_not_is_noticed(stack: Stack) -> None:
    document = written(stack)
    document["paths"]["/action/{uuid}"]["get"]["parameters"] = []
    with pytest.raises(OpenAPIValidationError, match="uuid"):
        OpenAPIV31SpecValidator(document).validate()
