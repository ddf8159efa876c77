"""Named queries over a tenant's records. No other module writes OData.

The tables' client recognises parameters by the blanks around them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Where:
    """A condition on records.

    Attributes:
        text: OData; "" for none. parameters: the values of its `@names`.
    """

    text: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __and__(self, other: Where) -> Where:
        """Returns the conjunction. The names of both sides' parameters must differ."""
        if not self.text or not other.text:
            return self if self.text else other
        return Where(f"( {self.text} ) and ( {other.text} )", {**self.parameters, **other.parameters})


ANY: Final = Where()


def equal(values: Mapping[str, tuple[str, Any]]) -> Where:
    """Records whose columns have these values: parameter name -> (column, value)."""
    text = " and ".join(f"{column} eq @{name}" for name, (column, _) in values.items())
    return Where(text, {name: value for name, (_, value) in values.items()})


def between(column: str, first: int, end: int) -> Where:
    """Records whose column has a time from `first` to before `end`, in milliseconds since 1970."""
    return Where(f"{column} ge @first and {column} lt @before", {"first": first, "before": end})


def of_did(did: str) -> Where:
    """Contacts with this DID."""
    return Where("did eq @did", {"did": did})


def identities_of_did(did: str) -> Where:
    """Identities with this DID, now or before they took an external one."""
    return Where("did eq @did or ownDid eq @did", {"did": did})


def default_identity() -> Where:
    return Where("isDefault eq true")


def connections_of_contact(contact_uuid: str) -> Where:
    return Where("contactUuid eq @contact", {"contact": contact_uuid})


def connections_of_contacts(contact_uuids: Sequence[str]) -> Where:
    """Connections of some contacts: at least one, and few enough for a filter."""
    text = " or ".join(f"contactUuid eq @contact{number}" for number in range(len(contact_uuids)))
    return Where(text, {f"contact{number}": uuid for number, uuid in enumerate(contact_uuids)})


def reusable_connections(invited_did: str, identity_uuid: str) -> Where:
    """Completed DIDComm v1 connections that an invitation by this DID can reuse."""
    return Where(
        "invitedDid eq @did and identityUuid eq @identity and state eq 'completed' and version eq 'v1'",
        {"did": invited_did, "identity": identity_uuid},
    )


def connections_under_another_did(identity_uuid: str, did: str) -> Where:
    """Connections of the identity that use another of its DIDs."""
    return Where("identityUuid eq @identity and identityDid ne @did", {"identity": identity_uuid, "did": did})


def about_message(message_uuid: str) -> Where:
    """Deliveries, or thread entries, of the message."""
    return Where("messageUuid eq @message", {"message": message_uuid})


def messages_not_on_their_way() -> Where:
    return Where("status ne 'SENDING' and status ne 'HELD'")


def messages_of_types(ranges: Iterable[str]) -> Where:
    """Messages whose type begins with one of these prefixes."""
    texts: list[str] = []
    parameters: dict[str, str] = {}
    for number, beginning in enumerate(ranges):
        texts.append(f"( type ge @prefix{number} and type lt @behind{number} )")
        parameters |= {f"prefix{number}": beginning, f"behind{number}": beginning + "\uffff"}
    return Where(" or ".join(texts), parameters)


def deliveries_under_way() -> Where:
    return Where("status eq 'PENDING' or status eq 'HELD'")


def deliveries_due(first: int, end: int) -> Where:
    """Pending deliveries whose next attempt was due from `first` to before `end`, in milliseconds since 1970."""
    return Where("status eq 'PENDING'") & between("nextAttemptAt", first, end)


def marked_since(time: int) -> Where:
    """Rows of the table `due` that were marked at this time or later, in milliseconds since 1970."""
    return Where("markedAt ge @marked", {"marked": time})


def with_status(statuses: Sequence[str]) -> Where:
    """Records with one of these statuses."""
    text = " or ".join(f"status eq @status{number}" for number in range(len(statuses)))
    return Where(text, {f"status{number}": status for number, status in enumerate(statuses)})


def deliveries_in(statuses: Sequence[str], entry_id: str) -> Where:
    """Deliveries in one of these states; only those of one webhook entry, unless `entry_id` is ""."""
    return with_status(statuses) & (Where("entryId eq @entry", {"entry": entry_id}) if entry_id else ANY)


def proofs() -> Where:
    """Exchanges of present-proof."""
    return Where("role eq 'verifier' or role eq 'prover'")


def exchanges_of_thread(thid: str) -> Where:
    return Where("thid eq @thid", {"thid": thid})


def actions_of_thread(thid: str) -> Where:
    return Where("referenceId eq @thid", {"thid": thid})


def of_actions(uuids: Sequence[str]) -> Where:
    """Messages or deliveries of some actions: at least one, and few enough for a filter."""
    text = " or ".join(f"actionUuid eq @action{number}" for number in range(len(uuids)))
    return Where(text, {f"action{number}": uuid for number, uuid in enumerate(uuids)})


def pointers_to(uuid: str) -> Where:
    return Where("recordUuid eq @record", {"record": uuid})


def held_credentials(formats: Collection[str]) -> Where:
    """Held credentials in one of these formats; the format names are our own."""
    names = " or ".join(f"format eq '{name}'" for name in sorted(formats))
    return Where(f"status eq 'HELD' and ({names})")


def credentials_of_connection(connection_uuid: str, format_name: str) -> Where:
    """Credentials in a format that were received on the connection."""
    text = "connectionUuid eq @connection and role eq 'holder' and format eq @format"
    return Where(text, {"connection": connection_uuid, "format": format_name})


def schemas(schema_id: str) -> Where:
    return Where("schemaId eq @id", {"id": schema_id})


def credential_definitions(credential_definition_id: str) -> Where:
    return Where("credentialDefinitionId eq @id", {"id": credential_definition_id})


def definitions_with_registry(revocation_registry_id: str) -> Where:
    return Where("revocationRegistryId eq @id", {"id": revocation_registry_id})


def open_status_lists(type_: str) -> Where:
    """Status lists with free places."""
    return Where("status eq 'ACTIVE' and type eq @type", {"type": type_})
