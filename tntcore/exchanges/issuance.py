"""Issue Credential (RFC 0036, RFC 0453): the consequences of each message, and of each step of the tenant's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tntcore.connections.sender import Author, Partner
from tntcore.credentials.formats import (
    Attribute,
    Check,
    CredentialFormat,
    FormatError,
    HeldCredential,
    Issuing,
    NotYetValid,
    SigningError,
    Verification,
)
from tntcore.credentials.wallet import Details, seal_details, seal_held
from tntcore.errors import Problem
from tntcore.exchanges.run import Run
from tntcore.storage.records import Credential
from tntcore.storage.states import CredentialStatus
from tntcore.workers import WorkTimeout

_MAX_TAKEN = 20  # credentials of one exchange that are stored together


async def conditions(run: Run, kind: str) -> Mapping[str, bool]:
    return {"more": run.exchange.more > 0}


async def received(run: Run, kind: str, author: Author) -> None:
    """Handles a message that has just moved the exchange.

    Args:
        author: its sender: only a `Partner` causes automatic steps.

    Raises:
        FormatError: it is unusable. DidError: `unresolvable`: try later.
    """
    if kind == "ack":
        return
    content = run.said[kind]
    begun = run.exchange.format if kind in ("request", "issue") else ""
    format_, value = run.formats.credentials.choose(kind, content, begun=begun)
    run.exchange.format = format_.name
    if kind == "issue":
        if value is None:
            raise FormatError("attachment-missing", "the message has no credential attached")
        run.exchange.more = content.more_available
        await _take(run, format_, value, author)
        return
    run.wait()
    automatic = {"propose": "autoOffer", "offer": "autoRequest", "request": "autoIssue"}[kind]
    # An offer is the tenant's decision to issue. Without one, it has not decided yet.
    default = kind == "request" and "offer" in run.exchange.messages
    if format_.name == "plain" or not isinstance(author, Partner) or not await run.tenant.automatic(automatic, default):
        return
    if run.asked_to_wait(content):
        return
    offered = await run.content("offer") if kind == "request" else None
    if offered is not None and 0 < offered.expires_at < run.now:
        run.wait("the offer had expired when it was answered")
        return
    try:
        await {"propose": offer, "offer": request, "request": issue}[kind](run, None)
    except (Problem, SigningError) as error:
        # The other side has done nothing wrong, so the tenant is asked.
        run.wait(error.detail)
    except WorkTimeout as error:
        run.wait(str(error))


async def propose(run: Run, content: Mapping[str, Any], **members: Any) -> None:
    """Sends the holder's proposal, or counter-proposal. Raises `Problem`, `OutOfTurn`."""
    draft = await _format(run).propose(await run.party(), content)
    members["preview"] = members.get("preview") or draft.preview
    await run.say("propose", [draft], **members)


async def offer(run: Run, content: Mapping[str, Any] | None, **members: Any) -> None:
    """Sends the issuer's offer: of `content`, or of the proposal. Raises `Problem`, `FormatError`, `OutOfTurn`."""
    if "preview" not in members:
        proposed = await run.content("propose")
        members["preview"] = proposed.preview if proposed is not None else ()
    issuing = await _issuing(run, members["preview"])
    if content is not None and await run.tenant.automatic("offerRevocable", False):
        content = _revocable(run, content)
    draft = await _format(run).offer(await run.party(), issuing, content)
    if content is None:
        draft = await run.answering("offer", draft, "propose", _format(run))
    members["preview"] = members["preview"] or draft.preview
    await run.say("offer", [draft], **members)


async def request(run: Run, content: Mapping[str, Any] | None, **members: Any) -> None:
    """Sends the holder's request: of the offer, or of `content`. Raises `Problem`, `FormatError`, `OutOfTurn`."""
    members.pop("preview", None)
    draft = await _format(run).request(await run.party(), await _issuing(run), content)
    draft = await run.answering("request", draft, "offer", _format(run))
    await run.say("request", [draft], **members)


async def issue(run: Run, content: Mapping[str, Any] | None, **members: Any) -> None:
    """Sends the credential. Raises `Problem`, `FormatError`, `SigningError`, `OutOfTurn`."""
    members.pop("preview", None)
    draft = await _format(run).issue(await run.party(), await _issuing(run), content)
    draft = await run.answering("issue", draft, "request", _format(run))
    run.exchange.more = int(members.get("more_available") or 0)
    await run.say("issue", [draft], **members)
    held = HeldCredential("", draft.format, draft.value, draft.secret)
    details = Details(draft.summary, Verification((), frozenset()))
    await _keep(run, held, details, status=CredentialStatus.ISSUED, message=run.name("issue"))


async def store(run: Run) -> None:
    """Accepts the credential for the holder, and acknowledges it. Raises `OutOfTurn`."""
    if run.exchange.more == 0:
        await run.say("ack")
    else:
        run.settle()
    await acknowledged(run)


async def acknowledged(run: Run) -> None:
    """Handles the holder's acknowledgement."""
    for credential in run.outcome.credentials:
        credential.status = CredentialStatus.HELD
    await _settle(run, CredentialStatus.HELD)


async def abandoned(run: Run) -> None:
    """Handles the end of the exchange without a result: a credential that waits is rejected."""
    await _settle(run, CredentialStatus.REJECTED)


async def _settle(run: Run, status: CredentialStatus) -> None:
    known = [one for one in run.exchange.credentials if one not in {new.uuid for new in run.outcome.credentials}]
    for credential in await run.tenant.records.many(Credential, known[-_MAX_TAKEN:]):
        if credential.status == CredentialStatus.RECEIVED:
            credential.status, credential.updated_at = status, run.now
            run.outcome.credentials.append(credential)


async def _take(run: Run, format_: CredentialFormat, value: Any, author: Author) -> None:
    """Checks and stores an issued credential, and acknowledges it if it is valid."""
    try:
        taken = await format_.receive(await run.party(), await _issuing(run), value)
    except WorkTimeout as error:
        raise FormatError("too-expensive", str(error)) from None
    verification = taken.verification
    details = Details(taken.held.summary, verification)
    early = [check for check in verification.checks if isinstance(check, NotYetValid)]
    failed = [check for check in verification.checks if check.passed is False and check not in early]
    good = _without(verification, early).verified
    status = CredentialStatus.REJECTED if failed else CredentialStatus.RECEIVED
    await _keep(run, taken.held, details, status=status, message=run.exchange.messages["issue"])
    if failed:
        # Details may quote claims: they are kept sealed, with the credential.
        reason = f"not accepted: {', '.join(check.name for check in failed)}"
        run.give_up(f"The credential was not accepted: {failed[0].name}.", detail=reason)
    elif good and isinstance(author, Partner) and await run.tenant.automatic("autoStore", True):
        await store(run)
    else:
        unmade = ", ".join(check.name for check in verification.checks if check.passed is None)
        run.wait(f"could not be checked: {unmade}" if unmade else "")


def _without(verification: Verification, early: Sequence[Check]) -> Verification:
    """Returns the verification without the checks that failed only because the credential is not valid yet: it may be
    stored until then.
    """
    rest = [check for check in verification.checks if check not in early]
    return Verification(rest, verification.required - {(check.name, check.subject) for check in early})


async def _keep(run: Run, held: HeldCredential, details: Details, *, status: CredentialStatus, message: str) -> None:
    exchange = run.exchange
    number = len(exchange.credentials)
    credential = Credential(
        uuid=run.name(f"credential/{number}"),
        status=status,
        role=exchange.role,
        format=exchange.format,
        exchange_uuid=exchange.uuid,
        identity_uuid=exchange.identity_uuid,
        connection_uuid=exchange.connection_uuid,
        contact_uuid=exchange.contact_uuid,
        message_uuid=message,
        created_at=run.now,
        updated_at=run.now,
    )
    seal_details(run.tenant.records, credential, details)
    await seal_held(run.tenant.records, credential, held)
    exchange.credentials = run.keep(exchange.credentials, credential.uuid)
    run.outcome.credentials.append(credential)


def _revocable(run: Run, content: Mapping[str, Any]) -> Mapping[str, Any]:
    # Slow to load for whoever issues nothing.
    from tntcore.credentials.ld_proof import LdProof, revocable

    return revocable(content) if run.exchange.format == LdProof.name else content


def _format(run: Run) -> CredentialFormat:
    return run.formats.credentials.named(run.exchange.format)


async def _issuing(run: Run, preview: Sequence[Attribute] = ()) -> Issuing:
    registry = run.formats.credentials
    offered, proposed = await run.content("offer"), await run.content("propose")
    if not preview and offered is not None:
        preview = offered.preview
    if not preview and proposed is not None:
        preview = proposed.preview
    return Issuing(
        proposal=await run.value("propose", registry),
        offer=await run.value("offer", registry),
        request=await run.value("request", registry),
        preview=preview,
        secret=run.secret,
    )
