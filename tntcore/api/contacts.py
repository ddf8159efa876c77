"""`/contact`: a tenant's business partners."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, NotRequired, TypedDict
from urllib.parse import urljoin

from tntcore.api.given import read_did, read_email, read_line
from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.identities import find_identity
from tntcore.api.invitations import INVITATION_ERRORS, ConnectionMethod, Qr, invitation_view
from tntcore.api.json_schema import ERASED_BY_NULL, Code, Reads, Words
from tntcore.api.latest import MOST_SHOWN, ConnectionShown, Last, WithLatest, is_wanted, of_contacts
from tntcore.api.views import (
    MAX_LIMIT,
    Did,
    Entity,
    GivenDid,
    JsonObject,
    Name,
    Page,
    Pointed,
    Timed,
    Uuid,
    UuidOrDid,
    entity,
    filters,
    found,
    listing,
    not_found,
    only_filter,
    text,
)
from tntcore.connections.acceptance import Acceptance
from tntcore.connections.connection import all_of_contact, connections_of, start
from tntcore.connections.invitations import Invitations, Wanted, id_of_code
from tntcore.connections.removal import MOST, remove
from tntcore.dids.parse import qualify
from tntcore.egress import FETCH_TIMEOUT, MAX_DOCUMENT, EgressError
from tntcore.errors import UNRESOLVABLE, DidError, Problem
from tntcore.messaging.invitations import InvitationMessage, read_invitation, read_invitation_url
from tntcore.messaging.texts import as_line
from tntcore.storage import queries
from tntcore.storage.commit import Exists, Unit
from tntcore.storage.records import Connection, Contact, Identity
from tntcore.storage.repository import Repository
from tntcore.storage.retrying import retrying
from tntcore.storage.states import ContactStatus, InvitationStatus

_ROUNDS = 20  # transactions of connections that one call deletes
_REDIRECTIONS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTIONS = 4
_SHORT_URL_SECONDS = 15
_PORT = re.compile("(did:web:[^:%]+):(?=[0-9]{1,5}(?::|$))")

InternalRef = Annotated[str, Words(maxLength=200, examples=["4711"]), Reads(read_line)]
Email = Annotated[str, Words(maxLength=320, examples=["orders@partner.example"]), Reads(read_email)]


class ContactGiven(TypedDict, total=False):
    did: Annotated[Did, Words(maxLength=4000)]
    email: Email
    displayName: Name
    internalRef: InternalRef


class NewContact(TypedDict, total=False):
    contact: ContactGiven
    identityId: Annotated[UuidOrDid, "uuid or DID of the identity; by default the default identity"]
    invitationId: Annotated[Uuid, "uuid of an invitation of another tenant"]
    invitation: Annotated[JsonObject, "anybody's invitation", Code("contact-invalid")]
    invitationUrl: Annotated[str, "anybody's invitation"]
    accept: Annotated[
        bool, "false: keep the invitation until you accept or reject its connection", Code("flag-invalid")
    ]
    didMethod: ConnectionMethod


class ContactChanged(TypedDict, total=False):
    did: Annotated[Did, "as it is"]
    email: Annotated[Email | None, ERASED_BY_NULL]
    displayName: Annotated[Name | None, ERASED_BY_NULL]
    internalRef: Annotated[InternalRef | None, ERASED_BY_NULL]


class ContactChange(ContactChanged, total=False):
    """Members to change, inside `contact` or directly. `null` erases."""

    contact: ContactChanged


class ContactQuery(Timed, WithLatest, total=False):
    did: Annotated[GivenDid, "its DID"]
    email: Annotated[Email, "its address"]
    status: ContactStatus
    search: Annotated[str, "a part of its name, internalRef, email address or DID, in any case", Words(maxLength=200)]


class ContactView(Entity):
    """A business partner. Its status is REQUESTED until its connection is completed."""

    status: ContactStatus
    did: Annotated[Did | None, "proven by the contact, or given by you"]
    claimedDid: Annotated[Did | None, "the DID the contact claims but has not proven"]
    email: str | None
    displayName: str
    internalRef: str | None
    connection: NotRequired[ConnectionShown]
    lastMessage: NotRequired[Last]


class ContactMade(ContactView):
    """A new contact. `reused`: the invitation came from an existing contact. `unreachable`: why the DID could not be
    contacted."""

    connectionUuid: Uuid
    reused: NotRequired[bool]
    unreachable: NotRequired[str | None]
    invitationId: NotRequired[Uuid]
    invitation: NotRequired[JsonObject]
    invitationUrl: NotRequired[str]
    shortUrl: NotRequired[str]
    qr: NotRequired[Qr]


_INVITATIONS = frozenset({"invitation", "invitationId", "invitationUrl"})


class ContactRoutes:
    def __init__(self, invitations: Invitations, acceptance: Acceptance) -> None:
        self._invitations = invitations
        self._acceptance = acceptance
        self.routes = [
            Route(
                "POST",
                "contact",
                self.create,
                creates=True,
                summary="Invite a partner or accept an invitation",
                request=NewContact,
                answers={201: ContactMade, 200: ContactMade},
                errors=(
                    "400 contact-invalid",
                    "400 did-unusable",
                    "400 flag-invalid",
                    "404 identity-unknown",
                    "404 invitation-unknown",
                    "409 contact-exists",
                    *INVITATION_ERRORS,
                ),
                example={"contact": {"did": "did:web:partner.example", "displayName": "Partner"}},
            ),
            Route(
                "GET",
                "contact",
                list_,
                summary="List contacts",
                answers={200: Page[ContactView]},
                query=ContactQuery,
            ),
            Route(
                "GET",
                "contact/{id}",
                read,
                summary="Read a contact",
                answers={200: ContactView},
                errors=("404 contact-unknown", "409 contact-ambiguous"),
            ),
            Route(
                "PUT",
                "contact/{id}",
                change,
                summary="Change a contact",
                request=ContactChange,
                answers={200: ContactView},
                errors=(
                    "400 contact-invalid",
                    "400 did-immutable",
                    "404 contact-unknown",
                    "409 contact-ambiguous",
                    "503 busy",
                ),
                example={"contact": {"displayName": "Partner", "internalRef": "4711"}},
            ),
            Route(
                "DELETE",
                "contact/{id}",
                delete,
                summary="Delete a contact",
                answers={204: None},
                errors=("404 contact-unknown", "409 contact-ambiguous", "503 busy"),
            ),
        ]

    async def create(self, call: Call) -> Response:
        """Invites a partner, or accepts an invitation. The contact is REQUESTED until its connection is completed.

        To invite: `{contact: {did | email, displayName?, internalRef?}, identityId?}`.
        To accept: `{invitationId | invitation | invitationUrl, contact?, identityId?}`.
        """
        body = call.body
        given = body.get("contact", {})
        now, uuid, method = call.ids.since, call.uuid7(), body.get("didMethod")
        identity = await find_identity(call.tenant.records, text(body.get("identityId"), "identityId", maximum=4000))
        # An earlier attempt created it, but its answer did not reach the caller.
        before = await call.tenant.records.get(Contact, uuid) if call.chance is not None else None
        if before is not None and not before.email:
            return await _made_before(call, identity, before)
        content = await self._invitation(call, body)
        contact = Contact(
            uuid=uuid,
            status=ContactStatus.REQUESTED,
            did=_did(given.get("did", "")),
            email=text(given.get("email"), "email", maximum=320),
            display_name=text(given.get("displayName"), "displayName", maximum=200),
            internal_ref=text(given.get("internalRef"), "internalRef", maximum=200),
            created_at=now,
            updated_at=now,
        )
        if content is not None:
            return await self._accept(call, identity, contact, content, method)
        if body.get("accept") is False:
            raise _invalid("accept is false, but there is no invitation to keep. Give one, or leave accept out.")
        if contact.did:
            contact, begun = await self._known(call, identity, contact)
            if begun is not None:
                return answer({**contact_view(contact), "connectionUuid": begun.uuid, "unreachable": None}, 201)
            return await self._implicit(await _placed(call, contact), identity, contact, method)
        if not contact.email:
            raise _invalid(
                "contact has neither did nor email. Give one of them; to accept an invitation, send invitationUrl, "
                "invitation or invitationId."
            )
        call = await _placed(call, contact)
        connection = await _keep(call, identity, contact) if before is None else start(identity, before, now)
        wanted = Wanted(label=identity.display_name, contact_uuid=contact.uuid, did_method=method)
        invited = invitation_view(call, await self._invitations.create(call.tenant, identity, wanted, call.ids))
        shown = {name: invited[name] for name in ("invitationId", "invitation", "invitationUrl", "shortUrl", "qr")}
        return answer({**contact_view(contact), "connectionUuid": connection.uuid, **shown}, 201)

    async def _accept(
        self, call: Call, identity: Identity, contact: Contact, content: InvitationMessage, method: str | None
    ) -> Response:
        """Answers an invitation, now or when the tenant says so, or reuses a connection with its maker."""
        # The keys in the answer prove who answers, whoever the caller expects.
        contact.did, contact.claimed_did = "", contact.did
        kept = call.body.get("accept") is False
        if not kept:
            reused = await self._acceptance.reuse(call.tenant, identity, contact, content, call.random, method)
            if reused is not None:
                known = await found(call.tenant.records, Contact, reused.contact_uuid)
                return answer({**contact_view(known), "connectionUuid": reused.uuid, "reused": True}, 200)
        contact.display_name = contact.display_name or as_line(content.label or "", 200)
        call = await _placed(call, contact)
        if kept:
            connection = self._acceptance.keep(call.tenant, identity, contact, content, method)
            await _store(call, contact, connection)
        else:
            connection = await self._acceptance.accept(call.tenant, identity, contact, content, did_method=method)
        return answer({**contact_view(contact), "connectionUuid": connection.uuid}, 201)

    async def _known(self, call: Call, identity: Identity, contact: Contact) -> tuple[Contact, Connection | None]:
        """Returns the existing contact with this DID, if another identity is to connect with it too, and the connection
        that an earlier attempt of this call has begun with it."""
        records = call.tenant.records
        hits = await _stored_with(records, contact.did)
        if not hits:
            return contact, None
        known = await records.get(Connection, Connection.uuid_of(identity.uuid, hits[0].uuid))
        if known is not None and call.is_repeated and known.created_at >= call.ids.since:
            return hits[0], known
        if known is not None:
            raise Problem(
                409,
                "contact-exists",
                "This identity is already connected with a contact with this did. Use that contact.",
            )
        return hits[0], None

    async def _implicit(self, call: Call, identity: Identity, contact: Contact, method: str | None) -> Response:
        """Starts a DID exchange with the contact. If its DID cannot be resolved now, it is tried again for a day and a
        half, and the contact's messages are held."""
        try:
            connection = await self._acceptance.accept_implicit(call.tenant, identity, contact, method)
            reason = None
        except DidError as error:
            if error.code != UNRESOLVABLE:
                detail = f"The DID cannot be written to: {error.detail}. Check it, or send the contact an invitation."
                raise Problem(400, "did-unusable", detail) from None
            await self._acceptance.try_later(call.tenant, Connection.uuid_of(identity.uuid, contact.uuid))
            connection = await _keep(call, identity, contact, method)
            reason = error.detail
        return answer({**contact_view(contact), "connectionUuid": connection.uuid, "unreachable": reason}, 201)

    async def _at(self, call: Call, url: str) -> InvitationMessage:
        """Returns the invitation in a URL, or the one that a short URL leads to: its answer is the invitation, or a
        redirection to a URL that has it (RFC 0434, "URL Shortening"; RFC 0160, "Invitation Message").
        """
        url = url.strip()
        try:
            async with asyncio.timeout(_SHORT_URL_SECONDS):
                for _ in range(_MAX_REDIRECTIONS + 1):
                    try:
                        return read_invitation_url(url)
                    except Problem as error:
                        if error.code != "invitation-short-url":
                            raise
                    found = await self._behind(call, url)
                    if isinstance(found, InvitationMessage):
                        return found
                    url = found
        except TimeoutError:
            raise _not_fetched(f"it took more than {_SHORT_URL_SECONDS} s") from None
        raise _not_fetched(f"it leads on more than {_MAX_REDIRECTIONS} times")

    async def _behind(self, call: Call, url: str) -> InvitationMessage | str:
        """Returns the invitation that a short URL answers, or the URL that it leads to."""
        own = f"{call.services.config.public_url}/api/i"
        if url.startswith((f"{own}/", f"{own}?")):
            # The service does not call itself: its own public URL may be out of its reach.
            code = url.rstrip("/").rpartition("id=" if url.startswith(f"{own}?") else "/")[2]
            opened = await self._invitations.open(id_of_code(code))
            if opened is None or opened.status != InvitationStatus.ACTIVE:
                raise Problem(
                    404, "invitation-unknown", "No open invitation has this URL. Ask the partner for a new one."
                )
            return read_invitation(opened.content)
        try:
            answered = await call.services.egress.request(
                "GET", url, headers={"Accept": "application/json"}, max_answer=MAX_DOCUMENT, timeout=FETCH_TIMEOUT
            )
        except EgressError as error:
            raise _not_fetched(str(error)) from None
        location = answered.headers.get("location", "")
        if answered.status in _REDIRECTIONS and location:
            try:
                return urljoin(url, location)
            except ValueError:
                raise _not_fetched("it leads to something that is no URL") from None
        if answered.status != 200 or answered.truncated:
            raise _not_fetched(
                f"it answered {answered.status}" if answered.status != 200 else "its answer is too large"
            )
        try:
            return read_invitation_url(answered.body.decode("utf-8", "replace"))
        except Problem as error:
            if error.code not in ("invitation-malformed", "invitation-short-url"):
                raise
            raise _not_fetched("it answered no invitation") from None

    async def _invitation(self, call: Call, body: dict[str, Any]) -> InvitationMessage | None:
        """Returns the invitation to accept, if one is given."""
        url, uuid = body.get("invitationUrl"), body.get("invitationId")
        if url is not None:
            return await self._at(call, text(url, "invitationUrl", maximum=200_000, required=True))
        content = body.get("invitation")
        if uuid is not None:
            content = await self._invitations.content_of(text(uuid, "invitationId", required=True))
            if content is None:
                raise Problem(
                    404, "invitation-unknown", "No open invitation has this id. Ask the partner for a new one."
                )
        if content is None:
            return None
        return read_invitation(content)


async def _placed(call: Call, contact: Contact) -> Call:
    """Returns the call with the tenant in the shard that the contact is in, or will be."""
    return call.by_tenant(await call.tenant.birthplace(Contact, contact.uuid, call.services.now()))


def _not_fetched(reason: str) -> Problem:
    return Problem(
        400,
        "invitation-short-url",
        f"The URL has no invitation in it (oob, c_i or _oob), and fetching one from there failed: {reason}. "
        "Open the URL, and give the one that it leads to, or the invitation as JSON.",
    )


async def _made_before(call: Call, identity: Identity, contact: Contact) -> Response:
    """Answers with the contact, and its connection, that an earlier attempt of the call made."""
    uuid = Connection.uuid_of(identity.uuid, contact.uuid)
    shown = {**contact_view(contact), "connectionUuid": uuid}
    if call.body.get("contact", {}).get("did") and not _INVITATIONS & call.body.keys():
        made = await call.tenant.records.get(Connection, uuid)
        waits = made is not None and made.state == "start"
        shown["unreachable"] = "The DID could not be reached at the first attempt." if waits else None
    return answer(shown, 201)


async def _keep(call: Call, identity: Identity, contact: Contact, did_method: str | None = None) -> Connection:
    """Creates the contact and its connection, in state `start`."""
    return await _store(call, contact, start(identity, contact, call.ids.since, did_method))


async def _store(call: Call, contact: Contact, connection: Connection) -> Connection:
    """Creates the contact, if it is new, and its connection."""
    unit = Unit()
    if not contact.etag:
        unit.create(contact)
    unit.create(connection)
    try:
        await call.tenant.records.commit(unit)
    except Exists:
        # Unless this very write, repeated by the SDK, did it.
        stored = await call.tenant.records.get(Connection, connection.uuid)
        if stored is None or stored.created_at != connection.created_at:
            raise
    return connection


def _did(given: str) -> str:
    try:
        return read_did(given) if given else ""
    except ValueError as error:
        raise _invalid(f"contact.did must be {error}.") from None


def _invalid(detail: str) -> Problem:
    return Problem(400, "contact-invalid", detail)


async def list_(call: Call) -> Response:
    """Lists contacts. `search` reads up to 1,000 contacts a storage call, and at most 50,000 for a page.

    `include=latest` adds each contact's connection and latest message. A page then has at most 50 contacts, whatever
    its `limit`. It costs two to 42 storage calls more, and one for each hit and identity; with more than four
    identities, one for each hit and each of its connections.
    """
    text_ = call.query.get("search", "").casefold()
    did = call.query.get("did")
    needs = ("displayName", "internalRef", "email", "did", "claimedDid", "named")

    def keep(contact: Contact) -> bool:
        texts = (contact.display_name, contact.internal_ref, contact.email, contact.did, contact.claimed_did or "")
        return any(text_ in one.casefold() for one in texts)

    pointed: Pointed[Contact] | None = None
    if email := call.query.get("email"):
        exact = not text_ and only_filter(call) == "email"
        pointed = Pointed(Contact.with_email(email), keep if text_ else None, exact)
    return await listing(
        call,
        Contact,
        contact_view,
        where=filters(call),
        among=await _stored_with(call.tenant.records, did) if did else None,
        keep=keep if text_ else None,
        needs=needs if text_ else (),
        beside=partial(of_contacts, call) if is_wanted(call) else None,
        pointed=pointed,
        most=MOST_SHOWN if is_wanted(call) else MAX_LIMIT,
    )


async def read(call: Call) -> Response:
    return answer(contact_view(await find_contact(call.tenant.records, call.arguments["id"])))


async def change(call: Call) -> Response:
    """Changes a contact. Body: `{contact: {displayName?, email?, internalRef?}}`."""
    asked = {**call.body, **call.body.get("contact", {})}
    changes: dict[str, Any] = {
        name: text(asked[name], name, maximum=320) for name in ("displayName", "email", "internalRef") if name in asked
    }

    async def attempt() -> Contact:
        contact = await find_contact(call.tenant.records, call.arguments["id"])
        if "did" in asked and asked["did"] != contact.did:
            raise Problem(
                400, "did-immutable", "The did of a contact cannot change. Create another contact for another did."
            )
        contact.updated_at = call.services.now()
        contact.display_name = changes.get("displayName", contact.display_name)
        contact.email = changes.get("email", contact.email)
        contact.internal_ref = changes.get("internalRef", contact.internal_ref)
        unit = Unit()
        # The pointer of its address goes with it, and both must be as they were read.
        pointed = unit.point(contact) if "email" in changes else {}
        own = {**changes, "updatedAt": contact.updated_at, **pointed}
        unit.merge(contact.key, own, contact.etag if pointed else "*")
        await call.at(contact).tenant.records.commit(unit)
        return contact

    busy = "Other requests change the contact at the same time. Try again."
    return answer(contact_view(await retrying(attempt, contended=Problem(503, "busy", busy, retry_after=1))))


async def delete(call: Call) -> Response:
    """Deletes the contact and its connections, so that their keys can no longer decrypt. Messages are kept; messages
    that were held for the contact become FAILED."""
    contact = await find_contact(call.tenant.records, call.arguments["id"])
    call = call.at(contact)
    for _ in range(_ROUNDS):
        if (await forget(call, contact, Unit()))[1]:
            return Response(204, content_type="")
    raise Problem(
        503,
        "busy",
        "The contact has so many connections that not all of them are deleted yet. Send the request again to go on.",
        retry_after=1,
    )


async def forget(call: Call, contact: Contact, unit: Unit) -> tuple[int, bool]:
    """Deletes connections of a contact, and with the last of them the contact. A call that broke off can be repeated.

    Args:
        unit: is committed with the deletion of the contact.

    Returns:
        How many connections were deleted, and whether the contact was.
    """
    records = call.tenant.records

    async def attempt() -> tuple[int, bool]:
        stored = await records.get(Contact, contact.uuid)
        if stored is None:
            return 0, True  # another call was faster
        hits = await all_of_contact(records, contact.uuid, limit=MOST)
        is_last = hits.next is None
        own = Unit()
        if is_last:
            own.operations += unit.operations
            own.remove(stored)
        await remove(call.services, call.tenant, hits.records, own)
        return len(hits.records), is_last

    busy = "Other requests change the contact's connections at the same time. Try again."
    return await retrying(attempt, contended=Problem(503, "busy", busy, retry_after=1))


async def find_contact(records: Repository, name: str) -> Contact:
    """Returns the contact with this uuid or DID. Raises `Problem` 404, or 409 if several have the DID."""
    contacts = await find_contacts(records, name)
    if len(contacts) > 1:
        raise ambiguous(contacts)
    return contacts[0]


async def find_contacts(records: Repository, name: str) -> Sequence[Contact]:
    """Returns the contacts with this uuid or DID: at least one, and several if the DID is connected several times.

    Raises `Problem` 404.
    """
    did = qualify(name)
    if not did.startswith("did:"):
        contact = await records.get(Contact, name) if name else None
        contacts: Sequence[Contact] = [contact] if contact is not None else []
    else:
        contacts = await _named(records, did)
        if not contacts and (port := _PORT.match(did)) is not None:
            # In a path, the `%3A` before a port has become a colon on its way here.
            contacts = await _named(records, f"{port[1]}%3A{did[port.end() :]}")
    if not contacts:
        raise not_found(Contact, name)
    return contacts


async def _named(records: Repository, did: str) -> list[Contact]:
    contacts = await _stored_with(records, did)
    return [contact for contact in contacts if contact.did == did or await _is_connected(records, contact, did)]


async def _stored_with(records: Repository, did: str) -> Sequence[Contact]:
    """Returns the contacts whose rows have this DID, proven or not."""
    if not await records.is_indexed():
        return (await records.list(Contact, limit=100, where=queries.of_did(did))).records
    beginning = Contact.pointers_of(did)
    contacts = await records.pointed(Contact, beginning, limit=100)
    # A version without pointers may have changed its DID.
    return [contact for contact in contacts.records if contact.pointer.startswith(beginning)]


async def _is_connected(records: Repository, contact: Contact, did: str) -> bool:
    """Tells whether a connection shows that the contact has proven its DID. Contacts stored by older versions do not
    record that themselves."""
    return any(connection.contact_did == did for connection in await connections_of(records, [contact.uuid]))


def ambiguous(contacts: Sequence[Contact]) -> Problem:
    uuids = ", ".join(sorted(contact.uuid for contact in contacts)[:20])
    return Problem(
        409, "contact-ambiguous", f"Several contacts have this DID. Give the uuid of one of them instead: {uuids}."
    )


def contact_view(contact: Contact) -> dict[str, Any]:
    return entity(
        contact,
        did=contact.did or None,
        claimedDid=contact.claimed_did or None,
        email=contact.email or None,
        displayName=contact.display_name,
        internalRef=contact.internal_ref or None,
    )
