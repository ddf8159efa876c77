"""The changes that a step of an exchange makes, for a unit of work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from tntcore.storage.commit import Unit
from tntcore.storage.records import Credential, Exchange, Presentation, Record, ShownPresentation
from tntcore.storage.states import ExchangeStatus


class Reply(NamedTuple):
    """A complete message to send on the exchange's connection, and its uuid in storage."""

    message_uuid: str
    message: Mapping[str, Any]


@dataclass(slots=True)
class Outcome:
    """All changes of one step.

    Attributes:
        exchange: its new state; None if the message moves no exchange.
        credentials, presentation: to create, or, with an etag, to change. shown: to create with the presentation.
        replies: to send. stored: a message of ours that went out in an invitation, to add to the thread.
        error: why the message does not move the exchange, for the tenant.
    """

    exchange: Exchange | None = None
    credentials: list[Credential] = field(default_factory=list)
    presentation: Presentation | None = None
    shown: ShownPresentation | None = None
    replies: list[Reply] = field(default_factory=list)
    stored: Sequence[Record] = ()
    error: str = ""

    @property
    def records(self) -> list[Exchange | Credential | Presentation]:
        return [one for one in (self.exchange, *self.credentials, self.presentation) if one is not None]

    @property
    def rows(self) -> set[str]:
        """The keys of the changed rows."""
        return {record.key for record in self.records}

    def add_to(self, unit: Unit) -> None:
        """Adds the changes. A lost race is reported for the exchange, or for records that belong to it."""
        for record in self.records:
            if record.etag:
                unit.change(record)
            else:
                unit.create(record)
        if self.shown is not None:
            unit.create(self.shown)
        for stored in self.stored:
            unit.upsert(stored)

    def tasks(self) -> list[dict[str, Any]]:
        """Returns the events for the tenant's system: `{type, uuid, status, ...}`; an exchange's status is the RFC's
        state.
        """
        exchange = self.exchange
        if exchange is None:
            return [_task(record, _about(record)) for record in self.credentials]
        about = {"exchangeUuid": exchange.uuid, "connectionUuid": exchange.connection_uuid}
        about |= {"contactUuid": exchange.contact_uuid, "role": exchange.role, "protocol": exchange.protocol}
        events: list[dict[str, Any]] = [
            {
                "type": "exchange",
                "uuid": exchange.uuid,
                "status": exchange.state,
                "waiting": exchange.status == ExchangeStatus.WAITING,
                "error": exchange.error or None,
                **about,
            }
        ]
        for record in (*self.credentials, self.presentation):
            if record is not None:
                events.append(_task(record, about))
        return events


def changing(exchange: Exchange, now: int) -> tuple[Exchange, Outcome]:
    """Returns a copy of the exchange to change, and the outcome that commits it."""
    changed = replace(exchange, updated_at=now)
    return changed, Outcome(changed)


def _task(record: Credential | Presentation, about: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": record.KIND,
        "uuid": record.uuid,
        "status": record.status,
        "verified": record.verified,
        **about,
    }


def _about(credential: Credential) -> dict[str, Any]:
    """Returns the event of a credential that changes after its exchange: its issuer has revoked it."""
    return {
        "exchangeUuid": credential.exchange_uuid,
        "connectionUuid": credential.connection_uuid,
        "contactUuid": credential.contact_uuid,
        "role": credential.role,
        "revocationNoticed": bool(credential.noticed_at),
    }
