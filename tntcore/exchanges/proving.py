"""Present Proof (RFC 0037, RFC 0454): the consequences of each message, and of each step of the tenant's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tntcore.connections.sender import Author, Partner
from tntcore.credentials.formats import (
    Candidate,
    Check,
    FormatError,
    HeldCredential,
    ProofFormat,
    SigningError,
    Verification,
    Verified,
)
from tntcore.credentials.wallet import Details, held_credentials, open_details, seal_details
from tntcore.errors import Problem
from tntcore.exchanges.run import Run
from tntcore.protocols.credential_messages import dialect_of
from tntcore.storage.commit import Changed, Exists, Unit
from tntcore.storage.records import Presentation, ShownPresentation, short_hash
from tntcore.storage.states import PresentationStatus
from tntcore.workers import WorkTimeout


async def conditions(run: Run, kind: str) -> Mapping[str, bool]:
    if kind != "present":
        return {}
    asked, shown = await run.content("request"), run.said.get("present")
    return {
        "confirm": asked is None or asked.will_confirm or bool(shown and shown.please_ack),
        "last": shown is None or shown.last_presentation or not (asked and asked.present_multiple),
    }


async def received(run: Run, kind: str, author: Author) -> None:
    """Handles a message that has just moved the exchange; see `issuance.received`."""
    if kind == "ack":
        await acknowledged(run)
        return
    begun = run.exchange.format if kind == "present" else ""
    format_, value = run.formats.proofs.choose(kind, run.said[kind], begun=begun)
    run.exchange.format = format_.name
    if kind == "present":
        if value is None:
            raise FormatError("attachment-missing", "the message has no presentation attached")
        await _examine(run, format_, value, author)
        return
    run.wait()
    if kind != "request" or format_.name == "plain" or not isinstance(author, Partner):
        return
    if not await run.tenant.automatic("autoPresent", False) or run.asked_to_wait(run.said[kind]):
        return
    try:
        await present(run, None)
    except (Problem, SigningError) as error:
        run.wait(error.detail)
    except WorkTimeout as error:
        run.wait(str(error))


async def propose(run: Run, content: Mapping[str, Any], **members: Any) -> None:
    """Sends the prover's proposal, or counter-proposal. Raises `Problem`, `OutOfTurn`."""
    if dialect_of(run.exchange.protocol) == "1.0":
        # It has no attachments: what is proposed is in members of its own (RFC 0037).
        lists = {name: content.get(name) or [] for name in ("attributes", "predicates")}
        if not all(isinstance(one, list) and all(isinstance(item, dict) for item in one) for one in lists.values()):
            raise Problem(400, "proposal-invalid", "data must be {attributes: [{name, ...}], predicates: [...]}.")
        await run.say("propose", **lists, **members)
        return
    draft = await _format(run).propose(await run.party(), content)
    await run.say("propose", [draft], **members)


async def request(run: Run, content: Mapping[str, Any] | None, **members: Any) -> None:
    """Sends the verifier's request: of `content`, or of the proposal. Raises `Problem`, `FormatError`, `OutOfTurn`."""
    proposal = await run.value("propose", run.formats.proofs)
    draft = await _format(run).request(await run.party(), proposal, content)
    if content is None:
        draft = await run.answering("request", draft, "propose", _format(run))
    await run.say("request", [draft], **members)


async def candidates(run: Run) -> Sequence[Candidate]:
    """Returns the credentials that fit the request. Raises `FormatError`."""
    asked = await run.value("request", run.formats.proofs)
    return await _format(run).candidates(asked, await _wallet(run), await run.party())


async def present(run: Run, chosen: Mapping[str, Any] | None, **members: Any) -> None:
    """Sends the presentation. Raises `Problem`, `FormatError`, `SigningError`, `OutOfTurn`."""
    asked = await run.value("request", run.formats.proofs)
    draft = await _format(run).present(await run.party(), asked, await _wallet(run), chosen)
    draft = await run.answering("present", draft, "request", _format(run))
    await run.say("present", [draft], **members)
    _keep(run, Details({}, Verification((), frozenset())), status=PresentationStatus.SENT, message=run.name("present"))


async def accept(run: Run) -> None:
    """Accepts the presentation for the verifier, and acknowledges it. Raises `OutOfTurn`."""
    await run.say("ack")
    await acknowledged(run)


async def acknowledged(run: Run) -> None:
    """Handles the verifier's acknowledgement of the latest presentation."""
    await _settle(run, PresentationStatus.ACCEPTED)


async def abandoned(run: Run) -> None:
    """Handles the end of the exchange without a result: its presentation is rejected."""
    await _settle(run, PresentationStatus.REJECTED)


async def _settle(run: Run, status: PresentationStatus) -> None:
    shown = run.exchange.presentations
    presentation = await run.tenant.records.get(Presentation, shown[-1]) if shown else None
    if presentation is not None:
        presentation.status, presentation.updated_at = status, run.now
        run.outcome.presentation = presentation


async def _examine(run: Run, format_: ProofFormat, value: Any, author: Author) -> None:
    """Checks a presentation, and answers it if the result is clear."""
    asked = await run.value("request", run.formats.proofs)
    try:
        verified = await format_.verify(await run.party(), asked, value)
    except WorkTimeout as error:
        raise FormatError("too-expensive", str(error)) from None
    verification = await _against_copies(run, verified, run.name("presentation"))
    failed = [check for check in verification.checks if check.passed is False]
    status = (
        PresentationStatus.REJECTED
        if failed
        else PresentationStatus.VERIFIED
        if verification.verified
        else PresentationStatus.UNDECIDED
    )
    _keep(run, Details(verified.summary, verification), status=status, message=run.exchange.messages["present"])
    if verified.mark and not failed:
        shown = ShownPresentation(
            uuid=short_hash(verified.mark),
            presentation_uuid=run.name("presentation"),
            exchange_uuid=run.exchange.uuid,
            created_at=run.now,
            updated_at=run.now,
        )
        if run.tenant.is_first:
            run.outcome.shown = shown
        else:
            await _reserve(run, shown)
    if failed:
        # Details may quote claims: they are kept sealed, with the presentation.
        reason = f"not accepted: {', '.join(f'{check.subject} {check.name}'.strip() for check in failed)}"
        run.give_up(f"The presentation was not accepted: {failed[0].name}.", detail=reason)
    elif run.exchange.state != "presentation-received":
        # No acknowledgement is due, or others follow.
        return
    elif isinstance(author, Partner) and verification.verified and await run.tenant.automatic("autoVerify", True):
        await run.say("ack")
    else:
        unmade = ", ".join(check.name for check in verification.checks if check.passed is None)
        run.wait(f"could not be checked: {unmade}" if unmade else "")


async def _reserve(run: Run, shown: ShownPresentation) -> None:
    """Writes the mark before the commit, because it is in another partition, where copies in all shards collide. Raises
    `Changed` if another presentation has just been marked with it.
    """
    unit = Unit()
    unit.create(shown)
    try:
        await run.tenant.records.commit(unit)
    except Exists:
        before = await run.tenant.records.get(ShownPresentation, shown.uuid)
        if before is None or before.presentation_uuid != shown.presentation_uuid:
            raise Changed(shown.key) from None


async def _against_copies(run: Run, verified: Verified, uuid: str) -> Verification:
    """Returns the verification, with a failed `challenge` if another presentation than `uuid` was the same. One request
    may have been sent to many, so its challenge does not show who answers.
    """
    verification = verified.verification
    before = await run.tenant.records.get(ShownPresentation, short_hash(verified.mark)) if verified.mark else None
    if before is None or before.presentation_uuid == uuid:
        return verification
    copied = Check("challenge", False, "The same presentation was received before; this one is a copy.")
    return Verification([*verification.checks, copied], verification.required)


async def verify_again(run: Run, presentation: Presentation) -> Details:
    """Repeats the checks of a received presentation as of now, and stores them in `presentation`. Raises the errors of
    `received`.
    """
    run.exchange.messages = {**run.exchange.messages, "present": presentation.message_uuid}
    asked, shown = [await run.value(step, run.formats.proofs) for step in ("request", "present")]
    verified = await _format(run).verify(await run.party(), asked, shown)
    details = Details(verified.summary, await _against_copies(run, verified, presentation.uuid))
    seal_details(run.tenant.records, presentation, details)
    return open_details(run.tenant.records, presentation)


def _keep(run: Run, details: Details, *, status: PresentationStatus, message: str) -> None:
    exchange = run.exchange
    presentation = Presentation(
        uuid=run.name("presentation"),
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
    seal_details(run.tenant.records, presentation, details)
    exchange.presentations = run.keep(exchange.presentations, presentation.uuid)
    run.outcome.presentation = presentation


def _format(run: Run) -> ProofFormat:
    return run.formats.proofs.named(run.exchange.format)


async def _wallet(run: Run) -> list[HeldCredential]:
    names = frozenset(run.formats.presented.get(run.exchange.format, ()))
    return await held_credentials(run.tenant.records, names)
