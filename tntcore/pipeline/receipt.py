"""A received message being committed: its rows and those of its consequences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tntcore.connections.effect import Effect, Reaction
from tntcore.delivery.outbox import message_call
from tntcore.delivery.outgoing import Outgoing
from tntcore.delivery.tasks import task_call
from tntcore.exchanges.outcome import Outcome
from tntcore.messaging.ids import delivery_uuid
from tntcore.messaging.message import MAX_IDENTIFIER, attachments
from tntcore.messaging.message import Message as Plaintext
from tntcore.storage.commit import Unit
from tntcore.storage.items import RelayItem, SendItem
from tntcore.storage.records import Action, AssetData, Delivery, Entry, Message, changed_at
from tntcore.storage.states import MessageStatus
from tntcore.storage.transactions import Value


@dataclass(slots=True)
class Receipt:
    """Everything to commit for a received message.

    Attributes:
        stored: the message. sealed: its body, for queue messages; the row may have it in a blob.
        action: its thread. begins: whether the other side may have begun it.
        dedup: the row that a second message with the same `@id` collides with; without an `@id`, the same envelope.
        before: uuid of the row that older versions wrote in place of `dedup` for a message without an `@id`.
        listed: the row by which the thread lists the message, if that is another.
        assets: its attachments. deliveries: webhook calls. tasks: calls of `TASK_WEBHOOK`. answers: our replies.
        failures: columns to write in the actions that the message reports as failed.
        effect: on the connection. outcome: on an exchange of credentials.
    """

    stored: Message
    sealed: bytes
    action: Action
    dedup: Entry
    listed: Entry | None
    begins: bool
    before: str = ""
    assets: list[AssetData] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    tasks: list[Delivery] = field(default_factory=list)
    answers: list[Outgoing] = field(default_factory=list)
    failures: Mapping[str, dict[str, Value]] = field(default_factory=dict)
    effect: Reaction | None = None
    outcome: Outcome | None = None

    def refuse(self, code: str) -> None:
        """Cancels all effects of the message, for this reason."""
        self.stored.status, self.stored.error = MessageStatus.REJECTED, code

    def name_effects(self) -> None:
        """Stores the delivery ids in the dedup row, so that a redelivery can publish them again."""
        effects = (*self.deliveries, *self.tasks, *(answer.delivery for answer in self.answers))
        self.dedup.deliveries = [delivery.uuid for delivery in effects]
        if self.listed is not None:
            self.listed.deliveries = self.dedup.deliveries

    def drop_outcome(self) -> None:
        """Drops the effect on the exchange, because another message used this `@id` before."""
        if self.outcome is None:
            return
        said = {reply.message_uuid for reply in self.outcome.replies}
        self.answers = [answer for answer in self.answers if answer.message.uuid not in said]
        self.tasks = [task for task in self.tasks if "exchangeUuid" not in task.task]
        self.outcome = None
        self.name_effects()

    def items(self, principal: str) -> list[SendItem | RelayItem]:
        """Returns the queue items of its deliveries, to be put after the commit."""
        return [
            *(message_call(principal, delivery, self.stored, self.sealed) for delivery in self.deliveries),
            *(task_call(principal, task) for task in self.tasks),
            *(answer.item(principal) for answer in self.answers),
        ]

    def unit(self, *, opens: bool) -> Unit:
        """Returns the unit of work.

        Args:
            opens: create the thread's row, which must not exist; otherwise merge it, whether or not it exists.
        """
        unit = Unit()
        unit.create(self.dedup)
        if self.listed is not None:
            unit.upsert(self.listed)
        if self.stored.status != MessageStatus.REJECTED:
            own = self.failures.get(self.action.uuid, {})
            if opens:
                unit.create_row(self.action.key, {**self.action.values(), **own})
            else:
                unit.upsert_row(self.action.key, {**self.action.values_of_any_thread(), **own})
            for uuid, change in self.failures.items():
                if uuid != self.action.uuid:
                    unit.upsert_row(Action.row_key(uuid), change)
        unit.create(self.stored)
        for record in (*self.assets, *self.deliveries, *self.tasks):
            unit.create(record)
        for answer in self.answers:
            answer.add_to(unit)
            if answer.message.action_uuid not in ("", self.action.uuid):
                at = changed_at(answer.message.uuid, self.stored.created_at)
                unit.upsert_row(Action.row_key(answer.message.action_uuid), {"updatedAt": at})
        if isinstance(self.effect, Effect):
            self.effect.add_to(unit)
        if self.outcome is not None:
            self.outcome.add_to(unit)
        return unit


def assets_of(message: Plaintext, stored: Message, now: int) -> list[AssetData]:
    """Returns a record for each attachment. The values stay in the message."""
    return [
        AssetData(
            uuid=delivery_uuid(stored.uuid, f"attachment/{index}"),
            message_uuid=stored.uuid,
            action_uuid=stored.action_uuid,
            name=attachment.key[:MAX_IDENTIFIER],
            format=(attachment.format or "")[:MAX_IDENTIFIER],
            mime_type=(attachment.mime_type or "")[:MAX_IDENTIFIER],
            index=index,
            created_at=now,
            updated_at=now,
        )
        for index, attachment in enumerate(attachments(message)[:20])
    ]
