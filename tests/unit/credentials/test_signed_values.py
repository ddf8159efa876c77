"""Values that a holder could change or add under the same signature: they are neither issued nor accepted."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.unit.credentials.ld import V1, V2
from tests.unit.credentials.test_names import RDF_SUITES, TERMS, VOCAB, XSD, credential, data, sign, why_not
from tntcore.credentials.formats import FormatError
from tntcore.credentials.linked_data import LinkedData
from tntcore.credentials.proof_suites import SUITES, Suite
from tntcore.credentials.signed_values import NotSigned, check_doubles
from tntcore.strict_json import read_json

__all__ = ["data"]  # the fixture

Claims = dict[str, Any]


def typed(name: str, type_: str) -> list[Any]:
    return [VOCAB, {name: {"@id": TERMS + name, "@type": type_}}]


async def changed(data: LinkedData, suite: Suite, context: Any, before: Claims, after: Claims) -> str:
    """Returns why a credential is refused whose claims the holder changed; "" if it is not."""
    signed = await sign(data, credential(context, before, V2 if suite.startswith("eddsa") else V1), suite)
    assert await why_not(data, signed) == ""
    forged = copy.deepcopy(signed)
    forged["credentialSubject"] = {"id": signed["credentialSubject"]["id"], **after}
    return await why_not(data, forged)


NUMBERS = [
    ("0.1", "0.10000000000000001"),
    ("5.5", "5.5000000000000001"),
    ("0.3", "0.30000000000000004"),
    ("1000000000000000000000", "1000000000000000000001"),
    ("100000000000000000000", "100000000000000000001"),
    ("1e300", "1.0000000000000000001e300"),
    ("0", "1E-400"),
    ("9007199254740992", "9007199254740993"),
    ("9007199254740992", "9007199254740992.5"),
    ("1e21", "1000000000000000000001"),
]


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize(("signed", "shown"), NUMBERS)
async def test_a_number_is_the_signed_one(data: LinkedData, suite: Suite, signed: str, shown: str) -> None:
    one, other = ({"n": {"n": read_json(text.encode())}} for text in (signed, shown))
    assert await changed(data, suite, VOCAB, one, other)


@pytest.mark.parametrize("suite", SUITES)
async def test_numbers_in_json_literals(data: LinkedData, suite: Suite) -> None:
    for text in ("9007199254740993", "0.1000000000000000055"):
        signed, shown = ({"n": {"n": read_json(one.encode())}} for one in (repr(float(text)), text))
        assert await changed(data, suite, typed("n", "@json"), signed, shown)


@pytest.mark.parametrize("suite", SUITES)
async def test_ordinary_numbers(data: LinkedData, suite: Suite) -> None:
    texts = ("5", "5.0", "-0", "1.50", "12.5", "1E2", "1e21", "52.520006", "-13.404954", "9007199254740992", "1e-7")
    claims = {f"n{number}": read_json(text.encode()) for number, text in enumerate(texts)}
    assert await changed(data, suite, VOCAB, claims, claims) == ""


@pytest.mark.parametrize("suite", RDF_SUITES)
async def test_whole_numbers_are_signed_digit_by_digit(data: LinkedData, suite: Suite) -> None:
    claims = {"n": 18446744073709551615}
    assert await changed(data, suite, VOCAB, claims, claims) == ""
    assert await changed(data, suite, VOCAB, claims, {"n": 18446744073709551614})
    # As doubles they are not.
    assert await changed(data, suite, typed("n", XSD + "double"), {"n": 5}, {"n": 5.0}) == ""
    with pytest.raises(FormatError, match="digits"):
        await sign(data, credential(typed("n", XSD + "double"), {"n": 9007199254740993}))


UNSIGNED: dict[str, tuple[Any, Claims, Claims]] = {
    "an empty list": (VOCAB, {"a": 1}, {"a": 1, "debts": []}),
    "an empty list deeper": (VOCAB, {"a": {"b": 1}}, {"a": {"b": 1, "debts": []}}),
    "an empty set": ([VOCAB, {"a": {"@id": TERMS + "a", "@container": "@set"}}], {"b": 1}, {"b": 1, "a": []}),
    "a copy": (VOCAB, {"points": [5, 6]}, {"points": [5, 5, 6]}),
    "a copy of a node": (VOCAB, {"car": [{"id": "urn:a"}]}, {"car": [{"id": "urn:a"}, {"id": "urn:a"}]}),
    "a label": (VOCAB, {"car": {"wheels": 4}}, {"car": {"id": "_:mercedes", "wheels": 4}}),
    "a label of a node that is listed": (
        VOCAB,
        {"car": [{"a": 1}, {"a": 2}]},
        {"car": [{"id": "_:x", "a": 1}, {"a": 2}]},
    ),
    "a label as a type": (VOCAB, {"car": {"type": "Car"}}, {"car": {"type": ["Car", "_:Mercedes"]}}),
    "a number for a text": (typed("a", XSD + "string"), {"a": "5"}, {"a": 5}),
    "a number for a date": (typed("a", XSD + "date"), {"a": "5.5E0"}, {"a": 5.5}),
    "true for a text": (typed("a", XSD + "string"), {"a": "true"}, {"a": True}),
    "true for a number": (typed("a", XSD + "decimal"), {"a": "true"}, {"a": True}),
    "nothing": (VOCAB, {"a": 1}, {"a": 1, "b": None}),
    "nothing in a list": (VOCAB, {"a": [1]}, {"a": [1, None]}),
    "a list in a list": (VOCAB, {"a": "x"}, {"a": [["x"]]}),
    "a relative @id": (VOCAB, {"a": {"b": 1}}, {"a": {"id": "paid", "b": 1}}),
    "an index": (VOCAB, {"a": {"b": 1}}, {"a": {"b": 1, "@index": "paid"}}),
    "an index of a literal": (VOCAB, {"a": "x"}, {"a": {"@value": "x", "@index": "paid"}}),
    "a nest": (VOCAB, {"a": 1}, {"@nest": {"a": 1}}),
    "included nodes": (VOCAB, {"a": 1}, {"a": 1, "@included": [{"id": "urn:paid"}]}),
    "an empty graph": (VOCAB, {"a": 1}, {"a": 1, "@graph": []}),
    "nothing reversed": (VOCAB, {"a": 1}, {"a": 1, "@reverse": {}}),
    "another language": (
        [VOCAB, {"a": {"@id": TERMS + "a", "@container": "@language"}}],
        {"a": {"en": "x"}},
        {"a": {"en": "x", "paid": None}},
    ),
}


@pytest.mark.parametrize("suite", RDF_SUITES)
@pytest.mark.parametrize("name", UNSIGNED)
async def test_what_statements_do_not_hold(data: LinkedData, suite: Suite, name: str) -> None:
    context, before, after = UNSIGNED[name]
    assert await changed(data, suite, context, before, after)
    with pytest.raises(FormatError) as refused:
        await sign(data, credential(context, after, V2 if suite == "eddsa-rdfc-2022" else V1), suite)
    assert refused.value.code == "not-signable"


async def test_what_jcs_signs_as_it_is(data: LinkedData) -> None:
    claims: Claims = {"a": [], "b": [1, 1], "c": None, "d": {"id": "_:x"}}
    assert await changed(data, "eddsa-jcs-2022", VOCAB, claims, claims) == ""


async def test_lists_in_which_order_and_copies_count(data: LinkedData) -> None:
    context = [VOCAB, {"steps": {"@id": TERMS + "steps", "@container": "@list"}}]
    for steps in ([], [1, 1], ["a", "b", "a"]):
        assert await changed(data, "Ed25519Signature2020", context, {"steps": steps}, {"steps": steps}) == ""
        assert await changed(data, "Ed25519Signature2020", context, {"steps": steps}, {"steps": [*steps, 1]})


def test_numbers_that_jcs_changes() -> None:
    check_doubles({"a": [1, 1.5, True, "0.30000000000000000001", {"b": 0.30000000000000004}]})
    for text in (b"9007199254740993", b"0.1000000000000000055"):
        with pytest.raises(NotSigned):
            check_doubles({"a": [read_json(text)]})
