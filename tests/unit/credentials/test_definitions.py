"""What presentation definitions ask for, those of ACA-Py and of the specification's shapes, and those made to hurt."""

import time
from typing import Any

import pytest

from tntcore.credentials.definitions import (
    Definition,
    DefinitionError,
    Matchable,
    choose,
    fit,
    is_required,
    read_definition,
    unmet,
)

PERMANENT_RESIDENT = "https://w3id.org/citizenship#PermanentResident"
ANY = "https://www.w3.org/2018/credentials#VerifiableCredential"
RESIDENT = {
    "@context": ["https://www.w3.org/2018/credentials/v1", "https://w3id.org/citizenship/v1"],
    "type": ["VerifiableCredential", "PermanentResident"],
    "issuer": {"id": "did:example:issuer"},
    "credentialSubject": {
        "id": "did:example:holder",
        "familyName": "SMITH",
        "age": 30,
        "accounts": [{"iban": "DE1"}, {"iban": "FR2"}],
    },
}


def shown(credential: dict[str, Any] = RESIDENT, **more: Any) -> Matchable:
    given: dict[str, Any] = {
        "kind": "ldp_vc",
        "suites": frozenset({"Ed25519Signature2018"}),
        "documents": (credential,),
        "names": frozenset({PERMANENT_RESIDENT, ANY}),
        "issuer": "did:example:issuer",
        "subjects": ("did:example:holder",),
    }
    return Matchable(**{**given, **more})


def token(credential: dict[str, Any] = RESIDENT) -> Matchable:
    claims = {"iss": "did:example:issuer", "vc": credential}
    return shown(kind="jwt_vc", suites=frozenset({"EdDSA"}), documents=(claims, credential))


def definition(*fields: Any, **more: Any) -> dict[str, Any]:
    constraints = {"fields": list(fields)}
    descriptor = {"id": "it", **({"constraints": constraints} if fields else {}), **more}
    return {"id": "d", "input_descriptors": [descriptor]}


def why(value: dict[str, Any], credential: Matchable | None = None) -> str:
    """Why a credential does not do, for the one descriptor."""
    return fit(read_definition(value), [credential or shown()], 2)[0][0]


def field(path: str, filter_: Any = None, **more: Any) -> dict[str, Any]:
    return {"path": [path], **({} if filter_ is None else {"filter": filter_}), **more}


@pytest.mark.parametrize(
    "part",
    [
        field("$.credentialSubject.familyName"),
        field("$.credentialSubject.familyName", {"const": "SMITH"}),
        field("$.credentialSubject.familyName", {"type": "string", "pattern": "^(SMITH|JONES)$"}),
        field("$['credentialSubject']['familyName']", {"enum": ["SMITH"]}),
        field("$..familyName", {"minLength": 2, "maxLength": 5}),
        field("$.credentialSubject.age", {"type": "number", "minimum": 18}),
        field("$.credentialSubject.age", {"type": "integer", "exclusiveMaximum": 31}),
        field("$.credentialSubject.accounts[*].iban", {"pattern": "^FR"}),
        field("$.credentialSubject.accounts[0:1].iban", {"const": "DE1"}),
        field("$.credentialSubject.accounts.[1].iban", {"const": "FR2"}),
        field("$.type", {"type": "array", "contains": {"const": "PermanentResident"}}),
        field("$.issuer.id", {"not": {"const": "did:example:other"}}),
        field(
            "$.credentialSubject", {"type": "object", "properties": {"age": {"type": "number"}}, "required": ["age"]}
        ),
        field("$.nothing", {"const": 1}, optional=True),
        {"path": ["$.vc.credentialSubject.familyName", "$.credentialSubject.familyName"]},
    ],
)
def test_fields_that_a_credential_has(part: dict[str, Any]) -> None:
    assert why(definition(part)) == ""
    assert why(definition(part), token()) == ""


@pytest.mark.parametrize(
    "part",
    [
        field("$.credentialSubject.givenName"),
        field("$.credentialSubject.familyName", {"const": "smith"}),
        field("$.credentialSubject.familyName", {"type": "number"}),
        field("$.credentialSubject.familyName", {"pattern": "^MITH"}),
        field("$.credentialSubject.age", {"minimum": 31}),
        field("$.credentialSubject.age", {"const": 31}, optional=True),
        field("$.credentialSubject.accounts[*].iban", {"const": "IT3"}),
        field("$.credentialSubject.accounts[7]"),
        field("$.credentialSubject.familyName.length"),
        field("$.credentialSubject", {"type": "object", "additionalProperties": False}),
        field("$.credentialSubject", False) | {"filter": {"not": {}}},
    ],
)
def test_fields_that_a_credential_has_not(part: dict[str, Any]) -> None:
    assert "as was asked for" in why(definition(part))


@pytest.mark.parametrize(
    "part",
    [
        field("$.credentialSubject[?(@.age > 3)]"),
        field("$.credentialSubject.`parent`"),
        field("$.credentialSubject.age where familyName"),
        field("$.credentialSubject.(age|familyName)"),
        field("$.credentialSubject.age & $.credentialSubject.familyName"),
        field("$['a','b']"),
        field("$..*..*..*"),
        field("credentialSubject.age"),
        field("`this`"),
        field("$.a" * 200),
        field("$" + "[*]" * 40),
        field("$" + "(" * 100 + ")" * 100),
        field("$['unfinished"),
        field("$.a[" + "9" * 5_000 + "]"),
        field("$."),
        field(""),
        field("\ud800"),
        field("$.a", {"$ref": "https://inside.example/schema"}),
        field("$.a", {"allOf": [{"$ref": "#"}]}),
        field("$.a", {"$dynamicRef": "#x"}),
        field("$.a", {"patternProperties": {"^(a|a)*$": {}}}),
        field("$.a", {"unevaluatedProperties": False}),
        field("$.a", {"type": "date"}),
        field("$.a", {"pattern": "(?=lookahead)"}),
        field("$.a", {"pattern": "(a)\\1"}),
        field("$.a", {"pattern": "a{1000}{1000}{1000}"}),
        field("$.a", {"pattern": "x" * 2_000}),
        field("$.a", {"pattern": ["x"]}),
        field("$.a", {"not": 7}),
        field("$.a", predicate="required"),
        field("$.a", []),
        {"path": "$.a"},
        {"path": []},
        {"path": [7]},
        "field",
    ],
)
def test_what_is_not_supported_is_refused_and_not_left_out(part: Any) -> None:
    with pytest.raises(DefinitionError):
        why(definition(part))


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"input_descriptors": []},
        {"input_descriptors": {}},
        {"input_descriptors": [{"id": "a"}, {"id": "a"}]},
        {"input_descriptors": [{"id": 7}]},
        {"input_descriptors": [{"id": "a", "constraints": []}]},
        {"input_descriptors": [{"id": "a", "constraints": {"fields": {}}}]},
        {"input_descriptors": [{"id": "a", "constraints": {"statuses": {"revoked": {"directive": "required"}}}}]},
        {"input_descriptors": [{"id": "a", "schema": [{"url": "x"}]}]},
        {"input_descriptors": [{"id": "a", "schema": {}}], "x": {"oneof_filter": []}},
        {"input_descriptors": [{"id": "a", "schema": {"oneof_filter": True}}]},
        {"input_descriptors": [{"id": "a", "group": "A"}]},
        {"input_descriptors": [{"id": "a"}], "format": {"ldp_vp": {"proof_type": "x"}}},
        {"input_descriptors": [{"id": "a"}], "frame": {}},
        {"input_descriptors": [{"id": "a"}], "id": 7},
        {"input_descriptors": [{"id": "a"}], "submission_requirements": [{"rule": "some", "from": "A"}]},
        {"input_descriptors": [{"id": "a"}], "submission_requirements": [{"rule": "all"}]},
        {"input_descriptors": [{"id": "a"}], "submission_requirements": [{"rule": "pick", "from": "A", "count": -1}]},
        {"input_descriptors": [{"id": f"a{n}"} for n in range(1_000)]},
        {"input_descriptors": [{"id": "a", "constraints": {"fields": [{"path": ["$.a"] * 501}]}}]},
        {"input_descriptors": [{"id": "a", "purpose": "x" * 100_000}]},
    ],
)
def test_what_is_no_definition(value: Any) -> None:
    with pytest.raises(DefinitionError):
        read_definition(value)


def test_submission_requirements_nested_for_ever_are_refused() -> None:
    requirement: dict[str, Any] = {"rule": "all", "from": "A"}
    for _ in range(50):
        requirement = {"rule": "all", "from_nested": [requirement]}
    with pytest.raises(DefinitionError):
        read_definition({"input_descriptors": [{"id": "a"}], "submission_requirements": [requirement]})


def test_expressions_that_would_take_for_ever_take_no_time() -> None:
    long = {"credentialSubject": {"a": "a" * 100_000 + "!"}}
    began = time.monotonic()
    for pattern in ("^(a|a)*$", "^(a+)+$", "(.*)*x"):
        assert why(definition(field("$.credentialSubject.a", {"pattern": pattern})), shown(long))
    assert time.monotonic() - began < 2


def test_the_largest_definition_that_is_read_takes_little_time() -> None:
    deep: Any = {"x": 1}
    for _ in range(90):
        deep = {"x": deep, "y": [1, 2, 3]}
    fields = [field("$..x", {"const": f"not {n}"}) for n in range(5)]
    value = {"input_descriptors": [{"id": str(n), "constraints": {"fields": fields}} for n in range(100)]}
    began = time.monotonic()
    rows = fit(read_definition(value), [shown({"credentialSubject": deep})] * 3, 5)
    assert len(rows) == 100
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("schema", "fits"),
    [
        ([{"uri": ANY}, {"uri": PERMANENT_RESIDENT}], True),
        ([{"uri": ANY}], True),
        ([{"uri": ANY}, {"uri": "https://other.example#Type"}], False),
        ([{"uri": "https://other.example#Type"}, {"uri": PERMANENT_RESIDENT}], True),
        ([{"uri": "https://other.example#Type", "required": True}, {"uri": PERMANENT_RESIDENT}], False),
        ({"oneof_filter": [[{"uri": "https://other.example#Type"}], [{"uri": PERMANENT_RESIDENT}]]}, True),
        ({"oneof_filter": [{"uri": "https://other.example#Type"}, {"uri": PERMANENT_RESIDENT}]}, True),
        ({"oneof_filter": True, "uri_groups": [[{"uri": "https://other.example#Type"}]]}, False),
        ([{"uri": "PermanentResident"}], False),
    ],
)
def test_schemas_are_compared_with_what_a_credential_is(schema: Any, fits: bool) -> None:
    assert (why(definition(schema=schema)) == "") is fits


@pytest.mark.parametrize(
    ("formats", "document", "jwt"),
    [
        ({"ldp_vp": {"proof_type": ["Ed25519Signature2020"]}}, True, False),
        ({"ldp_vc": {"proof_type": ["Ed25519Signature2018"]}}, True, False),
        ({"ldp_vc": {"proof_type": ["BbsBlsSignature2020"]}}, False, False),
        ({"jwt_vc": {"alg": ["EdDSA", "ES256"]}}, False, True),
        ({"jwt_vc": {"alg": ["ES256"]}}, False, False),
        ({"jwt": {"alg": ["EdDSA"]}}, False, True),
        ({"jwt_vp": {"alg": ["EdDSA"]}, "ldp_vc": {}}, True, False),
        ({"ac_vp": {}}, False, False),
        ({}, True, True),
    ],
)
def test_how_a_credential_has_to_be_signed(formats: Any, document: bool, jwt: bool) -> None:
    whole = {**definition(), "format": formats}
    single = definition(format=formats)
    assert [(why(value) == "", why(value, token()) == "") for value in (whole, single)] == [(document, jwt)] * 2


def test_what_may_not_be_disclosed_is_not_what_fits() -> None:
    asked = definition(field("$.credentialSubject.familyName"))
    asked["input_descriptors"][0]["constraints"]["limit_disclosure"] = "required"
    assert why(asked) == "it says more than may be disclosed"
    little = {**RESIDENT, "credentialSubject": {"id": "did:example:holder", "familyName": "SMITH"}}
    assert why(asked, shown(little)) == ""


DISCLOSED = {
    "prénom": "ALICE",
    "address": {"type": "Address", "city": "Berlin", "street.name": "Linden"},
    "accounts": [{"iban": "DE1"}, {"iban": "FR2"}],
}


@pytest.mark.parametrize(
    ("paths", "enough"),
    [
        (["$.credentialSubject"], True),
        (["$.credentialSubject.prénom", "$.credentialSubject.address", "$.credentialSubject.accounts"], True),
        (["$.credentialSubject['prénom']", "$.credentialSubject['address']", "$..accounts"], True),
        (["$.credentialSubject.prénom", "$.credentialSubject.address.city", "$.credentialSubject.accounts"], False),
        (
            ["$.credentialSubject.prénom", "$.credentialSubject.address.city", "$.credentialSubject.accounts[*].iban",
             "$.credentialSubject.address['street.name']"],
            True,
        ),
        (["$.credentialSubject.prénom", "$.credentialSubject.address", "$.credentialSubject.accounts[0].iban"], False),
        (["$.credentialSubject.prénom", "$.credentialSubject.address", "$.credentialSubject.accounts[0:2]"], True),
        (["$.credentialSubject.*"], True),
        (["$.credentialSubject.address", "$.credentialSubject.accounts"], False),
    ],
)  # fmt: skip
def test_what_is_disclosed_is_each_value(paths: list[str], enough: bool) -> None:
    asked = definition(*map(field, paths))
    asked["input_descriptors"][0]["constraints"]["limit_disclosure"] = "required"
    credential = {**RESIDENT, "credentialSubject": {"id": "did:example:holder", **DISCLOSED}}
    assert (why(asked, shown(credential)) == "") is enough
    in_token = definition(*(field(path.replace("$.credential", "$.vc.credential")) for path in paths))
    in_token["input_descriptors"][0]["constraints"]["limit_disclosure"] = "required"
    assert (why(in_token, token(credential)) == "") is enough
    several = {**RESIDENT, "credentialSubject": [{"id": "did:example:holder", **DISCLOSED}]}
    assert (why(asked, shown(several)) == "") is (paths in (["$.credentialSubject"], ["$.credentialSubject.*"]))


@pytest.mark.parametrize(
    "path", ["$.sujet.prénom", "$..prénom", "$.sujet['prénom']", "$.名前", "$.sujet.été-1", "$.Ünïcode"]
)
def test_names_in_any_script(path: str) -> None:
    credential = {"sujet": {"prénom": "x", "été-1": "x"}, "名前": "x", "Ünïcode": "x"}
    assert why(definition(field(path, {"const": "x"})), shown(credential)) == ""
    assert why(definition(field(path, {"const": "y"})), shown(credential))


@pytest.mark.parametrize(
    ("bounds", "born", "fits"),
    [
        ({"type": "string", "format": "date", "minimum": "1999-5-16"}, "1999-05-16", True),
        ({"type": "string", "format": "date", "minimum": "1999-5-16"}, "1999-05-15", False),
        ({"type": "string", "format": "date", "maximum": "1999-05-16"}, "1999-05-17", False),
        ({"type": "string", "format": "date", "formatMaximum": "1999-06-15"}, "1999-06-15", True),
        ({"type": "string", "format": "date", "formatMaximum": "1999-06-15"}, "1999-06-15T00:00:01Z", False),
        ({"format": "date", "formatExclusiveMaximum": "1999-06-15"}, "1999-06-15", False),
        ({"format": "date-time", "formatMinimum": "2020-01-01T12:00:00Z"}, "2020-01-01T13:00:00+02:00", False),
        ({"format": "date-time", "formatMinimum": "2020-01-01T12:00:00Z"}, "2020-01-01T14:00:00+02:00", True),
        ({"exclusiveMinimum": "1999-05-16"}, "1999-05-16", False),
        ({"exclusiveMinimum": "1999-05-16"}, 2000, False),
        ({"exclusiveMinimum": "1999-05-16"}, "yesterday", False),
        ({"anyOf": [{"minimum": "1999-05-16"}, {"const": "yesterday"}]}, "yesterday", True),
        ({"minimum": 18}, 18, True),
        ({"minimum": 18}, 17, False),
    ],
)
def test_dates_are_compared(bounds: Any, born: Any, fits: bool) -> None:
    credential = {**RESIDENT, "credentialSubject": {"born": born}}
    assert (why(definition(field("$.credentialSubject.born", bounds)), shown(credential)) == "") is fits


@pytest.mark.parametrize(
    "bounds",
    [{"minimum": "soon"}, {"formatMaximum": 5}, {"formatMaximum": "1999-13-01"}, {"minimum": ["1999-05-16"]},
     {"properties": {"a": {"maximum": "x"}}}],
)  # fmt: skip
def test_bounds_that_are_none(bounds: Any) -> None:
    with pytest.raises(DefinitionError):
        why(definition(field("$.a", bounds)))


@pytest.mark.parametrize(
    "requirement",
    [
        {"rule": "pick", "from": "C", "count": 1},
        {"rule": "all", "from": "C"},
        {"rule": "pick", "from": "B", "count": 4},
        {"rule": "pick", "count": 1, "from_nested": [{"rule": "all", "from": "A"}, {"rule": "all", "from": "C"}]},
        {"rule": "pick", "count": 2, "from_nested": [{"rule": "all", "from": "A"}]},
    ],
)
def test_requirements_that_nothing_meets(requirement: Any) -> None:
    with pytest.raises(DefinitionError, match="submission requirement"):
        grouped(requirement)


def test_a_credential_of_ones_own() -> None:
    asked = definition()
    asked["input_descriptors"][0]["constraints"] = {"subject_is_issuer": "required"}
    assert why(asked) == "its subject is not its issuer"
    assert why(asked, shown(subjects=("did:example:issuer",))) == ""


def grouped(*requirements: Any) -> Definition:
    descriptors = [{"id": name, "group": [name[0]]} for name in ("A1", "A2", "B1", "B2", "B3")]
    return read_definition({"input_descriptors": descriptors, "submission_requirements": list(requirements)})


ALL_A = {"rule": "all", "from": "A"}


@pytest.mark.parametrize(
    ("asked", "have", "chosen"),
    [
        (grouped(ALL_A), {"A1", "A2", "B1"}, ["A1", "A2"]),
        (grouped(ALL_A), {"A1", "B1"}, None),
        (grouped({"rule": "pick", "from": "B", "count": 2}), {"B3", "B1", "B2"}, ["B1", "B2"]),
        (grouped({"rule": "pick", "from": "B", "min": 1}), {"B3"}, ["B3"]),
        (grouped({"rule": "pick", "from": "B", "max": 2}), {"B2", "B3"}, ["B2"]),
        (grouped({"rule": "pick", "from": "B", "count": 3}), {"B2", "B3"}, None),
        (grouped(ALL_A, {"rule": "pick", "from": "B", "count": 1}), {"A1", "A2", "B2"}, ["A1", "A2", "B2"]),
        (
            grouped({"rule": "pick", "count": 1, "from_nested": [ALL_A, {"rule": "all", "from": "B"}]}),
            {"A1", "B1", "B2", "B3"},
            ["B1", "B2", "B3"],
        ),
        (grouped({"rule": "all", "from_nested": [ALL_A, {"rule": "all", "from": "B"}]}), {"A1", "A2", "B1"}, None),
    ],
)
def test_the_fewest_that_meet_the_requirements(asked: Definition, have: set[str], chosen: list[str] | None) -> None:
    assert choose(asked, have) == chosen
    if chosen is not None:
        assert unmet(asked, set(chosen)) == ""


def test_too_few_and_too_many_do_not_meet_the_requirements() -> None:
    two = grouped({"rule": "pick", "from": "B", "count": 2})
    assert [unmet(two, set(names.split())) == "" for names in ("B1", "B1 B2", "B1 B2 B3", "A1 A2")] == [
        False, True, False, False,
    ]  # fmt: skip
    some = grouped({"rule": "pick", "from": "B", "min": 1, "max": 2})
    assert [unmet(some, set(names.split())) == "" for names in ("", "B1", "B1 B2", "B1 B2 B3")] == [
        False, True, True, False,
    ]  # fmt: skip
    assert "'it'" in unmet(read_definition(definition()), set())


def test_what_nothing_will_do_without() -> None:
    asked = grouped(ALL_A, {"rule": "pick", "from": "B", "count": 2})
    assert [is_required(asked, name) for name in ("A1", "A2", "B1")] == [True, True, False]
    assert is_required(read_definition(definition()), "it")


def test_a_choice_goes_before_the_order() -> None:
    asked = grouped({"rule": "pick", "from": "B", "count": 1})
    assert choose(asked, {"B1", "B2"}, ["B2"]) == ["B2"]
