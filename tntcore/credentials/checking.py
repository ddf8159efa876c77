"""Checks that do not depend on how a credential is signed: its dates, its schema, its status.

Sources: VC Data Model 1.1 (4.6 issuance and expiration, 4.9 status, 5.4 schemas) and 2.0 (4.9, 4.10, 4.11), Bitstring
Status List 1.0, Status List 2021, VC JSON Schema.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from openvc.errors import OpenvcError
from openvc.schema import SchemaError, SchemaValidationError, parse_credential_schemas, validate_credential_schema
from openvc.status import check_credential_status, parse_status_entries

from tntcore.credentials.formats import Check, FormatError, NotYetValid, Party, Resolve, Verification
from tntcore.dids import key
from tntcore.dids.document import DidDocument
from tntcore.egress import EgressError
from tntcore.envelope.v2 import same_did
from tntcore.errors import UNRESOLVABLE, DidError
from tntcore.messaging import times
from tntcore.strict_json import JsonError, read_json
from tntcore.workers import TooLongError, Workers, WorkTimeout, within

Fetch = Callable[[str], Awaitable[bytes]]
"""The body at a URL that a stranger named, with all the bounds of egress. Raises `EgressError`."""

Listed = Callable[[Any], Awaitable[tuple[Verification, Mapping[str, Any]]]]
"""Reads a status list, an object or the text of a JWT: the checks of its signature, issuer and dates, but not
of its own status; and the credential. Raises `FormatError`, `DidError`."""

LEEWAY_MS: Final = 60_000
"""The most by which clocks may differ."""
_V2: Final = "https://www.w3.org/ns/credentials/v2"
BEGINS: Final = ("validFrom", "issuanceDate")
ENDS: Final = ("validUntil", "expirationDate")
MAX_ENTRIES: Final = 4  # schemas, or status entries, of a credential: each is a request to a stranger's host
SECONDS: Final = 2.0  # of processor time, for strangers' documents


def identifier(value: Any) -> str:
    """Returns the id of an issuer, a subject or a holder, written as text or as an object with `id`; "" if there is
    none.
    """
    if isinstance(value, Mapping):
        value = value.get("id")
    return value if isinstance(value, str) else ""


def subjects(credential: Mapping[str, Any]) -> list[str]:
    """Returns the ids of a credential's subjects; "" for one without."""
    value = credential.get("credentialSubject")
    return [identifier(subject) for subject in (value if isinstance(value, list) else [value])]


def dids_of(party: Party) -> set[str]:
    """Returns the DIDs that a party signs for: its own, that of its key's id, and the did:key of its key."""
    return {party.did, party.signer.kid.partition("#")[0], key.create(party.signer.key)}


async def owner_of(party: Party, did: str) -> Party | None:
    """Returns the party that owns a DID: the given one, or another identity of its tenant; None if there is none."""
    return party if did in dids_of(party) else await party.find(did) if did else None


def listed(value: Any) -> list[Any]:
    """Returns a list, as JSON-LD allows one value to be written alone."""
    return value if isinstance(value, list) else [] if value is None else [value]


def wrong_date(credential: Mapping[str, Any]) -> str:
    """Returns the name of a malformed date in a credential; "" if all are readable."""
    for name in (*BEGINS, *ENDS):
        try:
            times.read(credential.get(name, "2000-01-01"))
        except ValueError:
            return f"The credential's `{name}` must be a date and time such as 2030-01-31T12:00:00Z."
    return ""


def wrong_to_issue(credential: Mapping[str, Any]) -> str:
    """Returns the name of a date that is not in the data models' form; "" if all are. Credentials of other issuers only
    need readable dates.
    """
    zone = _V2 in listed(credential.get("@context"))
    for name in (*BEGINS, *ENDS):
        if name in credential and not times.is_date_time(credential[name], zone=zone):
            text = f"The credential's `{name}` must be written as an xsd:dateTime"
            return f"{text}{' with a time zone' if zone else ''}, such as 2030-01-31T12:00:00Z."
    return ""


def end_of(credential: Mapping[str, Any], *others: Any) -> int:
    """Returns the time when a credential expires, in milliseconds since 1970; 0 if never, or if a date cannot be read.

    Args:
        others: more times at which it expires, in milliseconds; values that are no numbers are ignored.
    """
    try:
        ends = [times.read(credential[name]) for name in ENDS if name in credential]
    except ValueError:
        return 0
    ends += [times.bounded(moment) for moment in others if isinstance(moment, int | float)]
    # A date before 1970 is in the past, not "never".
    return max(min(ends), 1) if ends else 0


def check_dates(credential: Mapping[str, Any], now_ms: int, subject: str) -> Check:
    """Makes the check `expiry`: the credential is valid now. A date that cannot be read fails."""
    try:
        begins = [times.read(credential[name]) for name in BEGINS if name in credential]
        ends = [times.read(credential[name]) for name in ENDS if name in credential]
    except ValueError:
        return Check("expiry", False, "A date of the credential cannot be read.", subject)
    return _check_moments("credential", begins, ends, now_ms, subject)


def check_time(claims: Mapping[str, Any], credential: Mapping[str, Any], now_ms: int, subject: str) -> Check:
    """Makes the check `expiry` of a JWT and the credential in it."""
    # `exp` and `nbf` stand for the credential's dates; where both are given, both hold.
    moments: dict[str, list[int]] = {"nbf": [], "exp": []}
    for name, found in moments.items():
        moment = claims.get(name, 0)
        if isinstance(moment, bool) or not isinstance(moment, int | float):
            return Check("expiry", False, f"{name} of the JWT is not a number of seconds.", subject)
        if name in claims:
            found.append(times.bounded(moment * 1000))
    of_token = _check_moments("JWT", moments["nbf"], moments["exp"], now_ms, subject)
    of_credential = check_dates(credential, now_ms, subject)
    if of_token.passed or (isinstance(of_token, NotYetValid) and not of_credential.passed):
        return of_credential
    return of_token


def _check_moments(what: str, begins: list[int], ends: list[int], now_ms: int, subject: str) -> Check:
    if ends and min(ends) <= now_ms:
        return Check("expiry", False, f"The {what} has expired.", subject)
    if begins and max(begins) > now_ms + LEEWAY_MS:
        detail = f"The {what} is valid only from {times.iso_seconds(max(begins))}."
        return NotYetValid("expiry", False, detail, subject)
    return Check("expiry", True, subject=subject)


async def check_schema(credential: Mapping[str, Any], fetch: Fetch, workers: Workers, subject: str) -> Check | None:
    """Makes the check `schema`: the credential matches its `credentialSchema`; None if it names none."""
    if "credentialSchema" not in credential:
        return None
    try:
        credential = {**credential, "credentialSchema": _renamed(credential["credentialSchema"])}
        references = parse_credential_schemas(credential)
        if not 1 <= len(references) <= MAX_ENTRIES:
            return Check("schema", None, f"Only 1 to {MAX_ENTRIES} schemas are checked.", subject)
        texts = {reference.id: await fetch(reference.id) for reference in references}
        await workers.run(within, SECONDS, _validate, credential, texts)
    except SchemaValidationError as error:
        return Check("schema", False, _brief(error), subject)
    except (SchemaError, EgressError) as error:
        return Check("schema", None, _brief(error), subject)
    except (WorkTimeout, TooLongError):
        return Check("schema", None, "Comparing the credential with its schema takes too long.", subject)
    return Check("schema", True, subject=subject)


def _renamed(schemas: Any) -> Any:
    """Renames the type of schemas: data model 1.1 had another name for JsonSchema."""
    if isinstance(schemas, list):
        return [schema if isinstance(schema, list) else _renamed(schema) for schema in schemas]
    if isinstance(schemas, Mapping) and listed(schemas.get("type")) == ["JsonSchemaValidator2018"]:
        return {**schemas, "type": "JsonSchema"}
    return schemas


def _validate(credential: dict[str, Any], texts: Mapping[str, bytes]) -> None:
    try:
        validate_credential_schema(credential, resolve_credential_schema=texts.__getitem__)
    except OpenvcError as error:
        # An error's context may contain objects that cannot be passed between processes.
        kind = SchemaValidationError if isinstance(error, SchemaValidationError) else SchemaError
        raise kind(_brief(error)) from None


async def check_status(
    credential: Mapping[str, Any], fetch: Fetch, read_list: Listed, workers: Workers, subject: str
) -> Check | None:
    """Makes the check `status`: the credential is neither revoked nor suspended; None if it has no `credentialStatus`.

    The check counts as not made if the status is of an unknown kind, its list cannot be fetched, or somebody other than
    the credential's issuer signed the list.

    Raises:
        DidError: `unresolvable`: try again later.
    """
    if "credentialStatus" not in credential:
        return None
    try:
        entries = parse_status_entries(dict(credential))
        if not entries or len(entries) != len(listed(credential["credentialStatus"])):
            return Check("status", None, "The credential has a status of an unsupported kind.", subject)
        if len(entries) > MAX_ENTRIES:
            return Check("status", None, f"At most {MAX_ENTRIES} status entries are checked.", subject)
        lists = {}
        for url in {entry.status_list_credential for entry in entries}:
            verification, found = await read_list(_list_value(await fetch(url)))
            if not verification.verified:
                return Check("status", None, "The status list does not verify.", subject)
            if identifier(found.get("issuer")) != identifier(credential.get("issuer")):
                return Check("status", None, "The status list is another issuer's.", subject)
            lists[url] = dict(found)
        said = await workers.run(within, SECONDS, _status, dict(credential), lists)
    except (OpenvcError, EgressError, FormatError, JsonError, UnicodeDecodeError) as error:
        return Check("status", None, _brief(error), subject)
    except (WorkTimeout, TooLongError):
        return Check("status", None, "Reading the status list takes too long.", subject)
    return Check("status", not said, said, subject)


async def resolve_signer(resolve: Resolve, did: Any) -> DidDocument | str:
    """Returns the document of the alleged signer, or what is wrong with the DID. Raises `DidError` `unresolvable`."""
    if not isinstance(did, str) or not did.startswith("did:"):
        return "Who signed is not named by a DID."
    try:
        document = await resolve(did)
    except DidError as error:
        if error.code == UNRESOLVABLE:
            raise
        return f"The DID of who signed leads to no key: {error.detail}"[:300]
    return document if same_did(document.id, did) else "The document of who signed is of another DID."


def summary(credential: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the summary of a credential for a tenant's list: see `HeldCredential`."""
    found: dict[str, Any] = {"issuer": identifier(credential.get("issuer"))}
    if about := [name for name in subjects(credential) if name]:
        found["subject"] = about[0]
    if types := [name for name in listed(credential.get("type")) if name != "VerifiableCredential"]:
        found["type"] = types
    if schemas := [identifier(schema) for schema in listed(credential.get("credentialSchema"))]:
        found["schemaId"] = schemas[0]
    return {**found, "claims": credential.get("credentialSubject")}


def _list_value(body: bytes) -> Any:
    return read_json(body) if body.lstrip().startswith(b"{") else body.decode("ascii").strip()


def _status(credential: dict[str, Any], lists: Mapping[str, dict[str, Any]]) -> str:
    try:
        result = check_credential_status(credential, resolve_status_list=lists.__getitem__)
    except OpenvcError as error:
        raise OpenvcError(_brief(error)) from None
    said = [entry.entry.purpose for entry in result.entries if entry.is_set]
    if result.revoked:
        return "The credential was revoked."
    if result.suspended:
        return "The credential is suspended."
    return f"The issuer has set the status {said[0][:40]!r}." if said else ""


def _brief(error: Exception) -> str:
    return (getattr(error, "detail", "") or str(error))[:300]
