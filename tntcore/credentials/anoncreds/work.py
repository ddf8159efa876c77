"""Slow AnonCreds computations, as functions for `Workers`: JSON texts in, JSON texts out.

A credential definition takes seconds (safe primes), everything else 5 to 100 ms. Nothing here does I/O.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from tntcore.strict_json import write_json

if TYPE_CHECKING:
    import anoncreds

P = ParamSpec("P")
T = TypeVar("T")
_MAX_NUMBER = 1_300  # digits; the longest that the cryptography makes has 930
_LINK_SECRET = "default"  # noqa: S105 - the name that the library asks for, not the secret


class LibraryRefused(Exception):
    """The library refused its input. The library's own error cannot be passed between processes."""


def _told(function: Callable[P, T]) -> Callable[P, T]:
    @functools.wraps(function)
    def run(*args: P.args, **named: P.kwargs) -> T:
        # Here, so that only the processes that compute load the library.
        global anoncreds
        import anoncreds

        try:
            return function(*args, **named)
        except anoncreds.AnoncredsError as error:
            raise LibraryRefused(str(error)[:300]) from None

    return run


@_told
def define(schema_id: str, schema: str, issuer: str, tag: str, revocable: bool) -> tuple[str, str, str]:
    """Makes a credential definition. Returns its public part, its private part, and the proof for its offers."""
    made = anoncreds.CredentialDefinition.create(schema_id, schema, issuer, tag, "CL", support_revocation=revocable)
    public, private, proof = (part.to_json() for part in made)
    return public, private, proof


@_told
def define_registry(definition_id: str, definition: str, issuer: str, maximum: int) -> tuple[str, str, bytes]:
    """Makes a revocation registry for credentials 1 to `maximum`. Returns the public part, whose `tailsLocation` is a
    placeholder, the private part, and the tails file.
    """
    with tempfile.TemporaryDirectory() as folder:
        public, private = anoncreds.RevocationRegistryDefinition.create(
            # The library counts from 0, the cryptography from 1.
            definition_id, definition, issuer, "0", "CL_ACCUM", maximum + 1, tails_dir_path=folder,
        )  # fmt: skip
        with open(os.path.join(folder, public.tails_hash), "rb") as file:
            tails = file.read()
        return public.to_json(), private.to_json(), tails


@_told
def first_status(definition: str, registry_id: str, registry: str, private: str, issuer: str, timestamp: int) -> str:
    """Returns the first status list, in which nothing is revoked."""
    status = anoncreds.RevocationStatusList.create(
        anoncreds.CredentialDefinition.load(definition),
        registry_id,
        registry,
        anoncreds.RevocationRegistryDefinitionPrivate.load(private),
        issuer,
        True,
        timestamp,
    )
    return str(status.to_json())


@_told
def revoke(definition: str, registry: str, private: str, status: str, index: int, timestamp: int) -> str:
    """Returns the status list after `status`, in which one more credential is revoked."""
    after = anoncreds.RevocationStatusList.load(status).update(
        anoncreds.CredentialDefinition.load(definition),
        registry,
        anoncreds.RevocationRegistryDefinitionPrivate.load(private),
        None,
        [index],
        timestamp,
    )
    return str(after.to_json())


@_told
def offer(schema_id: str, definition_id: str, proof: str) -> str:
    return str(anoncreds.CredentialOffer.create(schema_id, definition_id, proof).to_json())


@_told
def link_secret() -> str:
    """Makes a holder's secret."""
    return str(anoncreds.create_link_secret())


@_told
def request(definition: str, offered: str, secret: str, entropy: str | None, prover: str | None) -> tuple[str, str]:
    """Returns a holder's request, and the data to process the credential. Needs exactly one of `entropy` and `prover`
    (an unqualified DID, which old identifiers require).
    """
    made = anoncreds.CredentialRequest.create(entropy, prover, definition, secret, _LINK_SECRET, offered)
    return made[0].to_json(), made[1].to_json()


@_told
def issue(
    definition: str,
    private: str,
    offered: str,
    requested: str,
    values: Mapping[str, str],
    revocation: tuple[str, str, str, int] | None,
) -> str:
    """Returns the credential. `revocation`: the registry, its private part, its status list, the credential's
    number.
    """
    config = None
    if revocation is not None:
        registry, registry_private, status, index = revocation
        config = anoncreds.CredentialRevocationConfig(
            registry, registry_private, anoncreds.RevocationStatusList.load(status), index
        )
    made = anoncreds.Credential.create(definition, private, offered, requested, dict(values), None, config)
    return str(made.to_json())


@_told
def process(credential: str, metadata: str, secret: str, definition: str, registry: str | None) -> str:
    """Returns the credential as its holder stores it. Raises `LibraryRefused` if the issuer's signature is wrong."""
    return str(anoncreds.Credential.load(credential).process(metadata, secret, definition, registry).to_json())


@_told
def revocation_state(registry: str, status: str, index: int, tails: bytes) -> str:
    """Returns the proof that a credential is not revoked in `status`."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(tails)
        file.flush()
        made = anoncreds.CredentialRevocationState.create(
            registry, anoncreds.RevocationStatusList.load(status), index, file.name
        )
        return str(made.to_json())


@_told
def present(
    asked: str,
    entries: Sequence[tuple[str, Sequence[tuple[str, bool]], Sequence[str], int | None, str | None]],
    self_attested: Mapping[str, str],
    secret: str,
    schemas: Mapping[str, str],
    definitions: Mapping[str, str],
) -> str:
    """Returns the presentation. An entry: the credential, its attribute referents and whether each is revealed, its
    predicate referents, and the time and state of its status.
    """
    used = anoncreds.PresentCredentials()  # type: ignore[no-untyped-call]
    for credential, attributes, predicates, timestamp, state in entries:
        loaded = anoncreds.Credential.load(credential)
        for referent, reveal in attributes:
            used.add_attributes(loaded, referent, reveal=reveal, timestamp=timestamp, rev_state=state)
        used.add_predicates(loaded, *predicates, timestamp=timestamp, rev_state=state)
    made = anoncreds.Presentation.create(asked, used, dict(self_attested), secret, dict(schemas), dict(definitions))
    return str(made.to_json())


@_told
def verify(
    presentation: str,
    asked: str,
    schemas: Mapping[str, str],
    definitions: Mapping[str, str],
    registries: Mapping[str, str],
    statuses: Sequence[str],
) -> bool:
    """Whether the proof is right. The library takes the predicates, and whether there is a proof of non-revocation,
    from the presentation itself, so the caller must compare them with the request.
    """
    lists = [anoncreds.RevocationStatusList.load(status) for status in statuses]
    loaded = anoncreds.Presentation.load(presentation)
    return bool(loaded.verify(asked, dict(schemas), dict(definitions), dict(registries), lists))


def dumps(value: object) -> str:
    """Returns JSON for the library.

    Raises:
        Refused: it contains a NUL, which would end a text on the way into the library, or a number so long that it
            would keep a processor busy: the time grows with the cube of its length.
    """
    text = write_json(value).decode()
    if "\\u0000" in text:
        raise LibraryRefused("a text has a NUL in it")
    if len(text) > _MAX_NUMBER and _has_long_text(value):
        raise LibraryRefused(f"a number has more than {_MAX_NUMBER} digits")
    return text


def _has_long_text(value: object) -> bool:
    if isinstance(value, str):
        return len(value) > _MAX_NUMBER
    if isinstance(value, Mapping):
        # Texts for people, which are not computed with, have no such bound.
        return any(_has_long_text(item) for name, item in value.items() if name not in ("raw", "self_attested_attrs"))
    return isinstance(value, list) and any(map(_has_long_text, value))
