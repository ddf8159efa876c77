"""The stored records: one class per noun, one row per record, all of a principal in partitions of its own.

A row's key is `<kind>~<uuid>`, so that one noun of one tenant is one range of keys; uuids of version 7 put that range
in order of time. Times are milliseconds since 1970. Columns that hold JSON are text; sealed ones are binary.
"""

from tntcore.storage.records.credentials import (
    Context,
    Credential,
    CredentialDefinition,
    Exchange,
    LinkSecret,
    Presentation,
    RevocationStatus,
    Schema,
    ShownPresentation,
    StatusList,
)
from tntcore.storage.records.messages import (
    Action,
    AssetData,
    Attempt,
    Delivery,
    Entry,
    HeldMessage,
    Message,
    Replay,
    Sent,
    entry_id,
    sent_id,
)
from tntcore.storage.records.partners import (
    AttachedMessage,
    Connection,
    Contact,
    Invitation,
    PendingReuse,
)
from tntcore.storage.records.record import (
    END,
    MAX_TEXT,
    Record,
    is_in_shards,
    short_hash,
)
from tntcore.storage.records.tenants import (
    ANSWER_KEPT,
    ANSWERS,
    ApiToken,
    Audit,
    BoundDid,
    Identity,
    Operator,
    Principal,
    Setting,
)

__all__ = [
    "ANSWERS",
    "ANSWER_KEPT",
    "END",
    "MAX_TEXT",
    "Action",
    "ApiToken",
    "AssetData",
    "AttachedMessage",
    "Attempt",
    "Audit",
    "BoundDid",
    "Connection",
    "Contact",
    "Context",
    "Credential",
    "CredentialDefinition",
    "Delivery",
    "Entry",
    "Exchange",
    "HeldMessage",
    "Identity",
    "Invitation",
    "LinkSecret",
    "Message",
    "Operator",
    "PendingReuse",
    "Presentation",
    "Principal",
    "Record",
    "Replay",
    "RevocationStatus",
    "Schema",
    "Sent",
    "Setting",
    "ShownPresentation",
    "StatusList",
    "entry_id",
    "is_in_shards",
    "sent_id",
    "short_hash",
]
