"""AnonCreds presentations (AnonCreds Specification 1.0). Attachments: Aries RFC 0592 and RFC 0771, and in present-proof
1.0, RFC 0037, those of libindy. Identifiers are chosen as in `credential`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tntcore.credentials.anoncreds import work
from tntcore.credentials.anoncreds.common import Kept, Tools, encode, object_with, tags_of
from tntcore.credentials.anoncreds.registry import Json, is_revoked, is_unqualified, same_name
from tntcore.credentials.anoncreds.request import (
    REQUEST_MEMBERS,
    Interval,
    ProofRequest,
    RequestedItem,
    for_library,
    lets_in,
    read_request,
    request_of_preview,
)
from tntcore.credentials.anoncreds.shown import (
    ShownCredentials,
    Source,
    compare,
    read_presentation,
    summary_of,
    wrong_numbers,
)
from tntcore.credentials.formats import (
    Candidate,
    Check,
    Draft,
    FormatError,
    HeldCredential,
    Party,
    ProofStep,
    Verification,
    Verified,
)
from tntcore.errors import DidError, Problem
from tntcore.nearest import check_members
from tntcore.strict_json import reread_json

_AHEAD = 60  # seconds that another's clock may be ahead of ours


@dataclass(slots=True)
class _Used:
    """A credential in a presentation, and the requests that it answers."""

    kept: Kept
    value: Mapping[str, Any]
    attributes: list[tuple[str, bool]] = field(default_factory=list)
    predicates: list[str] = field(default_factory=list)
    interval: Interval | None = None


class AnonCredsProof:
    """The `ProofFormat` of AnonCreds. `content` of a request is the request itself, `{name?, version?,
    requested_attributes, requested_predicates, non_revoked?}`. A value of `chosen` may also be `{credentialUuid,
    reveal: false}`, to prove an attribute without showing it, or `{selfAttested: text}`.

    `present` and `verify` may raise `WorkTimeout` as well.
    """

    name = "anoncreds"
    identifiers: Mapping[ProofStep, Sequence[str]] = {
        "propose": ("anoncreds/proof-request@v1.0", "hlindy/proof-req@v2.0"),
        "request": ("anoncreds/proof-request@v1.0", "hlindy/proof-req@v2.0"),
        "present": ("anoncreds/proof@v1.0", "hlindy/proof@v2.0"),
    }

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def reads(self, step: ProofStep, value: Any) -> bool:
        if step == "present":
            return object_with(value, "proof", "requested_proof", "identifiers")
        if step == "propose" and isinstance(value, dict) and value and value.keys() <= {"attributes", "predicates"}:
            return True  # the preview of present-proof 1.0
        return object_with(value, "requested_attributes", "requested_predicates")

    async def propose(self, party: Party, content: Mapping[str, Any]) -> Draft:
        return self._asked("propose", self._given(content, keep_nonce=False))

    async def request(self, party: Party, proposal: Any, content: Mapping[str, Any] | None) -> Draft:
        if content is not None:
            return self._asked("request", self._given(content, keep_nonce=True))
        if isinstance(proposal, dict) and "requested_attributes" not in proposal:
            proposal = request_of_preview(proposal)
        if not isinstance(proposal, dict):
            raise FormatError("proposal-invalid", "there is no proposal to make a request from")
        # The verifier's nonce is what makes a presentation fresh: never one that the prover chose.
        return self._asked("request", read_request({**proposal, "nonce": self._nonce()}).raw)

    def _given(self, content: Mapping[str, Any], *, keep_nonce: bool) -> Mapping[str, Any]:
        check_members(content, REQUEST_MEMBERS, "data")
        known = ("name", "version", "nonce", "requested_attributes", "requested_predicates", "non_revoked")
        value = {"name": "proof-request", "version": "1.0", "requested_attributes": {}, "requested_predicates": {}}
        value |= {name: content[name] for name in known if name in content}
        if not keep_nonce or "nonce" not in content:
            value["nonce"] = self._nonce()
        try:
            work.dumps(value)
            return read_request(value).raw
        except (FormatError, work.LibraryRefused) as error:
            raise Problem(400, "content-invalid", f"{error}.") from None

    def _nonce(self) -> str:
        return str(int.from_bytes(self._tools.random(10), "big"))

    def _asked(self, step: ProofStep, value: Mapping[str, Any]) -> Draft:
        told = [text for wanted in read_request(value).wanted.values() for one in wanted.restrictions for text in
                one.values()]  # fmt: skip
        # Without identifiers of a newer method, more agents understand the older format identifier.
        modern = any(text.startswith("did:") and not text.startswith("did:sov:") for text in told)
        return Draft(dict(value), self.identifiers[step][0 if modern else 1])

    async def candidates(
        self, request: Any, held: Sequence[HeldCredential], party: Party | None = None
    ) -> Sequence[Candidate]:
        kept = self._kept(held)
        return [
            Candidate(wanted.referent, [uuid for uuid, (one, value) in kept.items() if _would_do(wanted, one, value)])
            for wanted in read_request(request).wanted.values()
        ]

    async def present(
        self, party: Party, request: Any, held: Sequence[HeldCredential], chosen: Mapping[str, Any] | None
    ) -> Draft:
        asked, kept = read_request(request), self._kept(held)
        states: dict[tuple[str, Interval], tuple[int, str] | None] = {}
        used: dict[str, _Used] = {}
        self_attested: dict[str, str] = {}
        unknown = (chosen or {}).keys() - asked.wanted.keys()
        if unknown:
            raise Problem(
                400,
                "choice-invalid",
                "The request does not ask for "
                f"{', '.join(sorted(unknown))[:200]!r}. Use the names from its candidates.",
            )
        for wanted in asked.wanted.values():
            choice = (chosen or {}).get(wanted.referent)
            if isinstance(choice, dict) and isinstance(choice.get("selfAttested"), str):
                if not wanted.may_be_self_attested:
                    raise Problem(
                        400,
                        "choice-invalid",
                        f"{wanted.referent} must come from a credential. Choose one of its candidates.",
                    )
                self_attested[wanted.referent] = choice["selfAttested"]
                continue
            uuid = await self._choose(wanted, choice, kept, states)
            use = used.setdefault(uuid, _Used(*kept[uuid]))
            if wanted.sign:
                use.predicates.append(wanted.referent)
            else:
                reveal = not isinstance(choice, dict) or choice.get("reveal") is not False
                if not reveal and wanted.grouped:
                    raise Problem(
                        400,
                        "choice-invalid",
                        f"{wanted.referent} asks for several attributes, which must all be revealed. Leave reveal out.",
                    )
                use.attributes.append((wanted.referent, reveal))
            if wanted.interval is not None:
                use.interval = wanted.interval if use.interval is None else use.interval.meet(wanted.interval)
        return await self._present(asked, list(used.values()), self_attested, states)

    async def _choose(
        self,
        wanted: RequestedItem,
        choice: Any,
        kept: Mapping[str, tuple[Kept, Mapping[str, Any]]],
        states: dict[tuple[str, Interval], tuple[int, str] | None],
    ) -> str:
        """Returns the uuid of the credential that answers: the chosen one, or the first that fits and is not
        revoked.
        """
        uuid = choice.get("credentialUuid") if isinstance(choice, dict) else choice
        if choice is not None:
            if not isinstance(uuid, str) or uuid not in kept or not _would_do(wanted, *kept[uuid]):
                raise Problem(
                    400,
                    "choice-invalid",
                    f"The credential chosen for {wanted.referent} does not fit the request. Choose one of its "
                    "candidates.",
                )
            return uuid
        for uuid, (one, value) in kept.items():
            if not _would_do(wanted, one, value):
                continue
            if wanted.interval is None or "rev_reg_id" not in one.tags:
                return uuid
            if await self._state(one, wanted.interval, states) is not None:
                return uuid
        hint = " You can state it yourself with selfAttested." if wanted.may_be_self_attested else ""
        raise Problem(409, "nothing-to-present", f"No held credential matches {wanted.referent}.{hint}")

    async def _present(
        self,
        asked: ProofRequest,
        used: Sequence[_Used],
        self_attested: Mapping[str, str],
        states: dict[tuple[str, Interval], tuple[int, str] | None],
    ) -> Draft:
        schemas, definitions, entries = {}, {}, []
        for one in used:
            tags = one.kept.tags
            schemas[tags["schema_id"]] = work.dumps(await self._tools.registry.schema(tags["schema_id"]))
            definition = await self._tools.registry.credential_definition(tags["cred_def_id"])
            definitions[tags["cred_def_id"]] = work.dumps(definition)
            timestamp, state = None, None
            if one.interval is not None and "rev_reg_id" in tags:
                shown = await self._state(one.kept, one.interval, states)
                if shown is None:
                    raise Problem(
                        409, "nothing-to-present", "A chosen credential has been revoked. Choose another one."
                    )
                timestamp, state = shown
            entries.append((one.kept.credential, one.attributes, one.predicates, timestamp, state))
        secrets = {one.kept.link_secret for one in used}
        if len(secrets) > 1:
            raise Problem(
                400, "choice-invalid", "The chosen credentials are bound to different link secrets. Choose others."
            )
        secret = secrets.pop() if secrets else await self._tools.workers.run(work.link_secret)
        try:
            made = await self._tools.workers.run(
                work.present, work.dumps(asked.raw), entries, self_attested, secret, schemas, definitions
            )
        except work.LibraryRefused as error:
            raise FormatError("request-invalid", f"the request cannot be answered: {error}") from None
        legacy = any(map(is_unqualified, definitions))
        return Draft(reread_json(made), self.identifiers["present"][1 if legacy else 0])

    async def _state(
        self, kept: Kept, interval: Interval, states: dict[tuple[str, Interval], tuple[int, str] | None]
    ) -> tuple[int, str] | None:
        """Returns the time and proof of the status list for an interval; None if the credential is revoked in it."""
        key = (kept.credential, interval)
        if key not in states:
            credential = reread_json(kept.credential)
            registry_id, index = credential["rev_reg_id"], credential["signature"]["r_credential"]["i"]
            registry = await self._tools.registry.revocation_registry_definition(registry_id)
            now = self._tools.now() // 1000
            status = await self._tools.registry.revocation_status_list(
                registry_id, now if interval.to is None else min(now, interval.to)
            )
            if is_revoked(status, index):
                states[key] = None
            else:
                tails = await self._tools.tails.get(registry)
                state = await self._tools.workers.run(
                    work.revocation_state, work.dumps(registry), work.dumps(status), index, tails
                )
                states[key] = status["timestamp"], state
        return states[key]

    async def verify(self, party: Party, request: Any, presentation: Any) -> Verified:
        asked = read_request(request)
        shown = read_presentation(presentation, asked)
        checks: list[Check] = []
        required = {("signature", ""), ("request", ""), ("encoding", "")}
        known: list[tuple[Json, dict[str, str]]] = []
        definitions: list[Json] = []
        told: list[Mapping[str, str]] = [{} for _ in shown.sources]
        registries: dict[str, Json] = {}
        statuses: dict[tuple[str, int], Json] = {}
        for index, source in enumerate(shown.sources):
            subject = f"credential {index}"
            required |= {("issuer", subject), ("schema", subject)}
            try:
                definition = await self._tools.registry.credential_definition(source.definition_id)
                schema = await self._tools.registry.schema(source.schema_id)
            except FormatError as error:
                checks.append(Check("issuer", False, error.detail, subject))
                continue
            tags = tags_of(source.schema_id, schema, source.definition_id, definition)
            if source.registry_id is not None:
                tags["rev_reg_id"] = source.registry_id
            known.append((schema, tags))
            told[index] = tags
            definitions.append(definition)
            checks.append(Check("issuer", True, definition["issuerId"], subject))
            fits = definition["schemaId"] == source.schema_id
            checks.append(Check("schema", fits, "" if fits else "not the credential definition's schema", subject))
            interval = shown.interval(asked, index)
            revocable = definition["value"].get("revocation") is not None
            if (interval is not None and revocable) or source.timestamp is not None:
                required.add(("status", subject))
                passed, detail = await self._status(source, definition, interval, registries, statuses)
                checks.append(Check("status", passed, detail, subject))
        wrong = wrong_numbers(shown)
        checks.append(Check("encoding", not wrong, f"not what was signed: {', '.join(wrong)[:200]}" if wrong else ""))
        if len(known) < len(shown.sources):
            for name in ("request", "signature"):
                checks.append(Check(name, None, "the definition of a credential is missing"))
        else:
            problems = compare(asked, shown, known)
            checks.append(Check("request", not problems, "; ".join(problems)[:1000]))
            checks.append(await self._signature(asked, presentation, shown, known, definitions, registries, statuses))
        summary = summary_of(asked, shown, told)
        return Verified(Verification(checks, frozenset(required)), summary, _mark(presentation, shown))

    async def _status(
        self,
        source: Source,
        definition: Json,
        interval: Interval | None,
        registries: dict[str, Json],
        statuses: dict[tuple[str, int], Json],
    ) -> tuple[bool | None, str]:
        """Checks that a status list is of a requested time. The proof itself then shows that the credential is not
        revoked in it.
        """
        if source.registry_id is None or source.timestamp is None or not source.proof.get("non_revoc_proof"):
            return False, "it does not show that the credential is not revoked"
        registry, at = self._tools.registry, source.timestamp
        now = self._tools.now() // 1000
        try:
            found = await self._tools.revocation_registry(source.registry_id, source.definition_id, definition)
            status = await registry.revocation_status_list(source.registry_id, at)
            if status["timestamp"] != at:
                return False, "there is no status list of the time that it names"
            registries[source.registry_id] = found
            statuses[source.registry_id, at] = status
            if interval is None:
                return True, ""
            if at > (now + _AHEAD if interval.to is None else interval.to):
                return False, "its status list is younger than was asked for"
            if at < interval.start:
                # An older list will do if it was still the newest at the beginning.
                first = await registry.revocation_status_list(source.registry_id, interval.start)
                if first["timestamp"] != at:
                    return False, "its status list is older than was asked for"
        except FormatError as error:
            return False, error.detail
        except DidError as error:
            return None, error.detail
        return True, ""

    async def _signature(
        self,
        asked: ProofRequest,
        presentation: Any,
        shown: ShownCredentials,
        known: Sequence[tuple[Json, Mapping[str, str]]],
        definitions: Sequence[Json],
        registries: Mapping[str, Json],
        statuses: Mapping[tuple[str, int], Json],
    ) -> Check:
        try:
            holds = await self._tools.workers.run(
                work.verify,
                work.dumps(presentation),
                work.dumps(for_library(asked)),
                {
                    source.schema_id: work.dumps(schema)
                    for source, (schema, _) in zip(shown.sources, known, strict=True)
                },
                {source.definition_id: work.dumps(one) for source, one in zip(shown.sources, definitions, strict=True)},
                {identifier: work.dumps(registry) for identifier, registry in registries.items()},
                [work.dumps(status) for status in statuses.values()],
            )
        except work.LibraryRefused as error:
            return Check("signature", False, f"the proof was refused: {error}")
        return Check("signature", holds, "" if holds else "the proof does not hold for this request")

    def _kept(self, held: Sequence[HeldCredential]) -> dict[str, tuple[Kept, Mapping[str, Any]]]:
        """Returns the stored form, and the values by `same_name`, of those that have this format, by uuid."""
        return {
            one.uuid: (Kept.read(one), {same_name(name): item["raw"] for name, item in one.value["values"].items()})
            for one in held
            if object_with(one.value, "cred_def_id", "values") and one.secret
        }


def _mark(presentation: Any, shown: ShownCredentials) -> bytes:
    """Returns the hash that the whole proof depends on, including the nonce. Without credentials it is the same for
    everybody.
    """
    if not shown.sources:
        return b""
    # Zeros at the beginning change nothing.
    return str(int(presentation["proof"]["aggregated_proof"]["c_hash"])).encode()


def _would_do(wanted: RequestedItem, kept: Kept, values: Mapping[str, Any]) -> bool:
    names = [same_name(name) for name in wanted.names]
    if not all(name in values for name in names):
        return False
    if wanted.sign and not _is_true(wanted.sign, values[names[0]], wanted.bound):
        return False
    return lets_in(wanted, kept.tags, list(values), values)


def _is_true(sign: str, text: str, bound: int) -> bool:
    # The signature covers the number that the text is encoded as. The hash of a text is too large to compare.
    number = int(encode(text))
    if not -(2**31) <= number < 2**31:
        return False
    return {">=": number >= bound, ">": number > bound, "<=": number <= bound, "<": number < bound}[sign]
