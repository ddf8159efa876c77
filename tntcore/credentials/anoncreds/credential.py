"""AnonCreds credentials (AnonCreds Specification 1.0). Attachments: Aries RFC 0592 and RFC 0771, and in
issue-credential 1.0, RFC 0036, those of libindy, which have the same members.

Both families list their format identifiers in the same order for every step; an answer uses the identifier at the same
position as the other side's. A first message chooses by the identifiers inside it: `hlindy/*` supports those of Indy
ledgers only.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import base58

from tntcore.credentials.anoncreds import work
from tntcore.credentials.anoncreds.common import Kept, Tools, encode, object_with, tags_of
from tntcore.credentials.anoncreds.issuer import Issuer, revocation_of
from tntcore.credentials.anoncreds.registry import Json, is_revoked, is_unqualified, same_name
from tntcore.credentials.formats import (
    Attribute,
    Check,
    CredentialStep,
    Draft,
    FormatError,
    HeldCredential,
    Issuing,
    Party,
    ReceivedCredential,
    Verification,
)
from tntcore.errors import DidError, Problem
from tntcore.nearest import check_members, names
from tntcore.strict_json import reread_json, write_json

_FILTER: Final = {
    "schemaId": "schema_id",
    "schemaIssuerId": "schema_issuer_id",
    "schemaName": "schema_name",
    "schemaVersion": "schema_version",
    "issuerId": "issuer_id",
    "credentialDefinitionId": "cred_def_id",
}
_FILTER_NAMES: Final = frozenset({*_FILTER.values(), "schema_issuer_did", "issuer_did"})
_SHAPES: Final[Mapping[CredentialStep, Sequence[str]]] = {
    "offer": ("schema_id", "cred_def_id", "key_correctness_proof", "nonce"),
    "request": ("cred_def_id", "blinded_ms", "blinded_ms_correctness_proof", "nonce"),
    "issue": ("schema_id", "cred_def_id", "values", "signature", "signature_correctness_proof"),
}


class AnonCreds:
    """See `CredentialFormat`. `content` of an offer: `{credentialDefinitionId, attributes?: {name: text}}`; of a
    proposal: any of `{credentialDefinitionId, issuerId, schemaId, schemaIssuerId, schemaName, schemaVersion}`, and
    `attributes`.

    All but `reads` may raise `WorkTimeout` as well. The draft of `issue` keeps `{rev_reg_id, index}` of a credential
    that can be revoked in its secret.
    """

    name = "anoncreds"
    identifiers: Mapping[CredentialStep, Sequence[str]] = {
        "propose": ("anoncreds/credential-filter@v1.0", "hlindy/cred-filter@v2.0"),
        "offer": ("anoncreds/credential-offer@v1.0", "hlindy/cred-abstract@v2.0"),
        "request": ("anoncreds/credential-request@v1.0", "hlindy/cred-req@v2.0"),
        "issue": ("anoncreds/credential@v1.0", "hlindy/cred@v2.0"),
    }

    def __init__(self, tools: Tools, issuer: Issuer) -> None:
        self._tools = tools
        self._issuer = issuer

    def reads(self, step: CredentialStep, value: Any) -> bool:
        if step == "propose":
            return isinstance(value, dict) and bool(value) and value.keys() <= _FILTER_NAMES
        return object_with(value, *_SHAPES[step])

    async def propose(self, party: Party, content: Mapping[str, Any]) -> Draft:
        check_members(content, names(*_FILTER, "attributes"), "data")
        value = {}
        for name, member in _FILTER.items():
            given = content.get(name)
            if given is None:
                continue
            if not isinstance(given, str) or not given or len(given) > 1000:
                raise Problem(400, "content-invalid", f"{name} must be a text of at most 1000 characters.")
            value[member] = given
        draft = replace(self._draft("propose", value, *value.values()), preview=preview_of(content))
        if draft.format.startswith("hlindy/"):
            renamed = {"schema_issuer_id": "schema_issuer_did", "issuer_id": "issuer_did"}
            return replace(draft, value={renamed.get(name, name): given for name, given in value.items()})
        return draft

    async def offer(self, party: Party, issuing: Issuing, content: Mapping[str, Any] | None) -> Draft:
        check_members(content, names("credentialDefinitionId", "attributes"), "data")
        wanted = content.get("credentialDefinitionId") if content else _member(issuing.proposal, "cred_def_id")
        if not isinstance(wanted, str) or not wanted:
            raise Problem(
                400,
                "credential-definition-missing",
                "The credential definition is missing. Name it with credentialDefinitionId.",
            )
        definition = await self._issuer.find(party.records, wanted)
        preview = preview_of(content) or issuing.preview
        _values(preview, definition.attributes)
        private = await self._issuer.private(party.records, definition)
        made = await self._tools.workers.run(
            work.offer, definition.schema_id, definition.credential_definition_id, private.proof
        )
        draft = self._draft("offer", reread_json(made), definition.credential_definition_id)
        return replace(draft, preview=preview)

    async def request(self, party: Party, issuing: Issuing, content: Mapping[str, Any] | None) -> Draft:
        offer = self._attachment("offer", issuing.offer)
        _, definition = await self._definitions(offer)
        secret = await self._tools.link_secret(party.records)
        legacy = is_unqualified(offer["cred_def_id"])
        # The library requires an id of the requester, although nobody reads it.
        entropy = None if legacy else base64.urlsafe_b64encode(self._tools.random(16)).decode()
        prover = base58.b58encode(self._tools.random(16)).decode() if legacy else None
        try:
            made, metadata = await self._tools.workers.run(
                work.request, work.dumps(definition), work.dumps(offer), secret, entropy, prover
            )
        except work.LibraryRefused as error:
            raise FormatError("offer-invalid", f"the offer is invalid: {error}") from None
        kept = write_json({"metadata": metadata, "linkSecret": secret})
        draft = self._draft("request", reread_json(made), offer["cred_def_id"])
        return replace(draft, secret=kept)

    async def issue(self, party: Party, issuing: Issuing, content: Mapping[str, Any] | None) -> Draft:
        offer = self._attachment("offer", issuing.offer)
        request = self._attachment("request", issuing.request)
        if request["cred_def_id"] != offer["cred_def_id"]:
            raise FormatError("request-mismatch", "the request is for another credential definition than was offered")
        definition = await self._issuer.find(party.records, offer["cred_def_id"])
        values = _values(issuing.preview or preview_of(content), definition.attributes)
        private = await self._issuer.private(party.records, definition)
        public = await self._issuer.public(party.records, definition.credential_definition_id)
        revocation = await self._issuer.revocation(party.records, definition, private)
        try:
            made = await self._tools.workers.run(
                work.issue, public, private.definition, work.dumps(offer), work.dumps(request), values, revocation
            )
        except work.LibraryRefused as error:
            raise FormatError("request-invalid", f"the request is invalid: {error}") from None
        value = reread_json(made)
        number = revocation_of(value)
        secret = write_json({"rev_reg_id": number[0], "index": number[1]}) if number else b""
        draft = self._draft("issue", value, definition.credential_definition_id)
        summary = {
            "issuer": definition.issuer_id,
            **({"type": definition.schema_name} if definition.schema_name else {}),
            "schemaId": definition.schema_id,
            "credentialDefinitionId": definition.credential_definition_id,
            "claims": values,
        }
        return replace(draft, secret=secret, summary=summary)

    async def receive(self, party: Party, issuing: Issuing, value: Any) -> ReceivedCredential:
        credential = self._attachment("issue", value)
        offer = self._attachment("offer", issuing.offer)
        secret = reread_json(issuing.secret)
        asked = _as_offered(credential, offer, issuing.preview)
        processed, checks, schema, definition = await self._examine(
            credential, secret["metadata"], secret["linkSecret"]
        )
        tags = tags_of(credential["schema_id"], schema, credential["cred_def_id"], definition)
        number = revocation_of(credential)
        if number:
            tags["rev_reg_id"] = number[0]
        kept = Kept(processed, secret["metadata"], secret["linkSecret"], tags)
        held = HeldCredential(
            uuid="",
            format=self._draft("issue", None, credential["cred_def_id"]).format,
            value=credential,
            secret=kept.serialise(),
            summary={
                "issuer": definition["issuerId"],
                "type": schema["name"],
                "schemaId": credential["schema_id"],
                "credentialDefinitionId": credential["cred_def_id"],
                "claims": {name: item["raw"] for name, item in credential["values"].items()},
            },
        )
        return ReceivedCredential(held, _verification([asked, *checks], number is not None, {("request", "")}))

    async def verify(self, held: HeldCredential) -> Verification:
        try:
            kept = Kept.read(held)
        except ValueError:
            raise Problem(
                409, "own-credential", "You issued this AnonCreds credential; only its holder can verify it."
            ) from None
        credential = self._attachment("issue", held.value)
        _, checks, _, _ = await self._examine(credential, kept.metadata, kept.link_secret)
        return _verification(checks, revocation_of(credential) is not None, set())

    async def revoke(self, party: Party, held: HeldCredential) -> None:
        number = reread_json(held.secret) if held.secret else None
        if number is None:
            raise Problem(
                409,
                "credential-not-revocable",
                "The credential cannot be revoked: its credential definition has no revocation registry. Use "
                "one with supportRevocation next time.",
            )
        await self._issuer.revoke(party.records, number["rev_reg_id"], number["index"])

    async def _examine(
        self, credential: dict[str, Any], metadata: str, secret: str
    ) -> tuple[str, list[Check], Json, Json]:
        """Returns the credential to store ("" if the signature is wrong), the checks, its schema and definition."""
        checks: list[Check] = []
        schema, definition = await self._definitions(credential)
        checks.append(Check("issuer", True, f"the credential definition was published by {definition['issuerId']}"))
        names = {same_name(name) for name in schema["attrNames"]}
        fits = names == {same_name(name) for name in credential["values"]}
        checks.append(Check("schema", fits, "" if fits else "its attributes are not those of the schema"))
        wrong = [name for name, item in credential["values"].items() if item["encoded"] != encode(item["raw"])]
        detail = f"the signed number is not that of the text: {', '.join(wrong)[:200]}" if wrong else ""
        checks.append(Check("encoding", not wrong, detail))
        registry = None
        number = revocation_of(credential)
        if number:
            registry = await self._tools.revocation_registry(number[0], credential["cred_def_id"], definition)
        processed = ""
        try:
            processed = await self._tools.workers.run(
                work.process,
                work.dumps(credential),
                metadata,
                secret,
                work.dumps(definition),
                work.dumps(registry) if registry else None,
            )
            checks.append(Check("signature", True))
        except work.LibraryRefused as error:
            checks.append(Check("signature", False, f"the issuer's signature is invalid: {error}"))
        if number:
            checks.append(await self._status(*number))
        return processed, checks, schema, definition

    async def _status(self, registry_id: str, index: int) -> Check:
        try:
            status = await self._tools.registry.revocation_status_list(registry_id, self._tools.now() // 1000)
        except (FormatError, DidError) as error:
            return Check("status", None, f"the status list cannot be fetched: {error.detail}")
        revoked = is_revoked(status, index)
        return Check("status", not revoked, "the credential was revoked" if revoked else "")

    async def _definitions(self, value: Mapping[str, Any]) -> tuple[Json, Json]:
        """Returns the schema and credential definition that an offer or a credential names. Raises `FormatError`."""
        definition = await self._tools.registry.credential_definition(value["cred_def_id"])
        if definition["schemaId"] != value["schema_id"]:
            raise FormatError("schema-mismatch", "the credential definition is not one of the schema")
        return await self._tools.registry.schema(value["schema_id"]), definition

    def _attachment(self, step: CredentialStep, value: Any) -> dict[str, Any]:
        """Returns the attachment. Raises `FormatError` unless it has the shape that the code relies on."""
        names = ("schema_id", "cred_def_id") if step != "request" else ("cred_def_id",)
        if not (
            self.reads(step, value)
            and all(isinstance(value[name], str) for name in names)
            and (step != "issue" or _are_values(value["values"]))
        ):
            raise FormatError("malformed", f"it is not an AnonCreds attachment of the step {step}")
        checked: dict[str, Any] = value
        return checked

    def _draft(self, step: CredentialStep, value: Any, *identifiers: str) -> Draft:
        legacy = any(map(is_unqualified, identifiers))
        return Draft(value, self.identifiers[step][1 if legacy else 0])


def preview_of(content: Mapping[str, Any] | None) -> list[Attribute]:
    """Returns the attributes of a tenant's offer in the form of the protocol's credential preview. Raises `Problem`
    400.
    """
    given = (content or {}).get("attributes")
    if given is None:
        return []
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise Problem(400, "attributes-invalid", "attributes must be an object that maps names to strings.")
    return [Attribute(name, value) for name, value in given.items()]


def _values(attributes: Sequence[Attribute], names: Sequence[str]) -> dict[str, str]:
    """Returns the value of each attribute of a schema, under the schema's name for it. Raises `Problem` 400."""
    given = {same_name(attribute.name): attribute.value for attribute in attributes}
    if len(given) != len(attributes) or given.keys() != {same_name(name) for name in names}:
        raise Problem(
            400,
            "attributes-mismatch",
            f"The attributes do not match the schema. Give each of these exactly once: {', '.join(names)[:500]}.",
        )
    if any("\0" in value or len(value) > 100_000 for value in given.values()):
        raise Problem(
            400,
            "attributes-invalid",
            "A value is too long or contains NUL. Use at most 100000 characters, without NUL.",
        )
    return {name: given[same_name(name)] for name in names}


def _as_offered(credential: Mapping[str, Any], offer: Mapping[str, Any], preview: Sequence[Attribute]) -> Check:
    for name in ("cred_def_id", "schema_id"):
        if credential[name] != offer[name]:
            return Check("request", False, f"{name} is not what was offered")
    offered = {same_name(attribute.name): attribute.value for attribute in preview}
    given = {same_name(name): item["raw"] for name, item in credential["values"].items()}
    if not offered:
        return Check("request", None, "the offer did not say which values the credential would have")
    different = sorted(name for name in offered.keys() | given.keys() if offered.get(name) != given.get(name))
    detail = f"not the values that were offered: {', '.join(different)[:200]}" if different else ""
    return Check("request", not different, detail)


def _verification(checks: Sequence[Check], revocable: bool, more: set[tuple[str, str]]) -> Verification:
    names = {"signature", "issuer", "schema", "encoding"} | ({"status"} if revocable else set())
    return Verification(checks, frozenset({(name, "") for name in names} | more))


def _are_values(values: Any) -> bool:
    return isinstance(values, dict) and all(
        isinstance(item, dict) and isinstance(item.get("raw"), str) and isinstance(item.get("encoded"), str)
        for item in values.values()
    )


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None
