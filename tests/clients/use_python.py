"""Uses the service by a client that was made of its description. Arguments: the service's URL, an operator's key.

Prints what was seen, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from tntclient import AuthenticatedClient
from tntclient.api.account import get_account
from tntclient.api.action import create_action, get_action, list_actions, send_on_action
from tntclient.api.api_token import create_api_token, delete_api_token, list_api_tokens
from tntclient.api.backlog import get_backlog
from tntclient.api.connection import get_connection, list_connections
from tntclient.api.contact import create_contact, get_contact, list_contacts, update_contact
from tntclient.api.delivery import list_deliveries
from tntclient.api.health import get_health
from tntclient.api.identity import list_identities
from tntclient.api.invitation import create_invitation, list_invitations
from tntclient.api.message import get_message_count, list_messages
from tntclient.api.principal import create_principal, get_principal, list_principals
from tntclient.api.settings import get_setting, save_setting
from tntclient.api.usage import get_usage
from tntclient.models import (
    Command,
    ContactChange,
    GetSettingKey,
    ListContactsInclude,
    ListContactsOrder,
    ListMessagesDirection,
    NewAction,
    NewContact,
    NewInvitation,
    NewPrincipal,
    NewSetting,
    NewToken,
    Problem,
    SaveSettingKey,
)

BASIC = "https://didcomm.org/basicmessage/1.0/message"
PATIENCE = 60  # seconds


def client(url: str, header: str, key: str) -> Any:
    return AuthenticatedClient(f"{url}/api", key, prefix="", auth_header_name=header, raise_on_unexpected_status=True)


def eventually(ask: Any) -> Any:
    end = time.monotonic() + PATIENCE
    while not (found := ask()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


def main(url: str, key: str) -> dict[str, Any]:
    operator = client(url, "tnt-operator-key", key)
    tenants = []
    for name in ("Python Acme", "Python Bolt"):
        made = create_principal.sync(client=operator, body=NewPrincipal(display_name=name))
        tenants.append(client(url, "tnt-subscription-key", made.headers.tnt_subscription_key))
        assert get_principal.sync(made.uuid, client=operator).display_name == name
    acme, bolt = tenants
    assert list_principals.sync(client=operator, name="python acme").total.value >= 1
    assert {queue.queue for queue in get_backlog.sync(client=operator).queues} >= {"inbound", "relay"}
    assert get_health.sync(client=acme).status == "ok"
    assert get_account.sync(client=acme).display_name == "Python Acme"
    assert len(list_identities.sync(client=acme).hits) == 1

    invitation = create_invitation.sync(client=acme, body=NewInvitation(label="Acme", goal="Orders"))
    assert list_invitations.sync(client=acme).hits[0].uuid == invitation.uuid
    accepting = NewContact.from_dict({"invitationUrl": invitation.invitation_url, "contact": {"displayName": "Acme"}})
    contact = create_contact.sync(client=bolt, body=accepting)
    eventually(lambda: get_contact.sync(contact.uuid, client=bolt).status == "ACCEPTED")
    assert get_connection.sync(contact.connection_uuid, client=bolt).state == "completed"
    assert list_connections.sync(client=acme).hits[0].invitation_uuid == invitation.uuid
    change = ContactChange.from_dict({"contact": {"internalRef": "4711"}})
    assert update_contact.sync(contact.uuid, client=bolt, body=change).internal_ref == "4711"

    message = {"message": {"@type": BASIC, "content": "Hello"}}
    begun = NewAction.from_dict({"type": "DIDCOMM", "to": str(contact.uuid), "data": message})
    action = create_action.sync(client=bolt, body=begun)
    assert get_action.sync(action.uuid, client=bolt).status == "ACTIVE"
    send_on_action.sync(action.uuid, client=bolt, body=Command.from_dict({"data": message}))
    arrived = eventually(
        lambda: (
            len(found := list_messages.sync(client=acme, direction=ListMessagesDirection.IN, type_=BASIC).hits) == 2
            and found
        )
    )
    assert {hit.direction for hit in arrived} == {"IN"}
    assert get_message_count.sync(client=acme, type_=BASIC).total == 2
    assert list_actions.sync(client=acme).total.value >= 1
    assert list_deliveries.sync(client=bolt).hits
    newest = list_contacts.sync(client=bolt, order=ListContactsOrder.NEWEST, include=ListContactsInclude.LATEST)
    assert newest.hits[0].last_message.direction == "OUT"

    setting = NewSetting.from_dict({"setting": {"autoRequest": True}})
    saved = save_setting.sync(SaveSettingKey.PRINCIPAL_SETTINGS, client=acme, body=setting)
    assert saved.setting.auto_request is True
    assert get_setting.sync(GetSettingKey.PRINCIPAL_SETTINGS, client=acme).key == "PRINCIPAL_SETTINGS"
    token = create_api_token.sync(client=acme, body=NewToken(name="warehouse"))
    delete_api_token.sync_detailed(token.uuid, client=acme)
    statuses = {one.uuid: one.status for one in list_api_tokens.sync(client=acme).hits}
    assert statuses[token.uuid] == "REVOKED"
    assert get_usage.sync(client=acme).stored_bytes >= 0

    refused = get_contact.sync("019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1b", client=acme)
    assert isinstance(refused, Problem)
    return {"contents": [hit.message["content"] for hit in arrived], "refused": refused.type_}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
