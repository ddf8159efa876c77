"""Parts of the DID documents that this service publishes or hands out. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from tntcore.dids.document import PublicKey, Version
from tntcore.dids.endpoint import V1_PROFILES, V2_PROFILES
from tntcore.dids.multiformats import encode_multikey

CONTEXTS: Final = (
    "https://www.w3.org/ns/did/v1",
    "https://w3id.org/security/suites/ed25519-2020/v1",
    "https://w3id.org/security/suites/x25519-2020/v1",
    "https://w3id.org/security/multikey/v1",
)
BOTH: Final[tuple[Version, ...]] = ("v1", "v2")

_TYPES: Final = {"Ed25519": "Ed25519VerificationKey2020", "X25519": "X25519KeyAgreementKey2020"}


def document_body(
    did: str,
    keys: Mapping[str, PublicKey],
    endpoint: str | None,
    *,
    routing_keys: Sequence[str] = (),
    versions: Collection[Version] = BOTH,
) -> dict[str, Any]:
    """Makes a document without its root id: X25519 keys for key agreement, all others for authentication and assertion,
    and the services of `didcomm_services`; the first Ed25519 key is v1's recipient.

    Args:
        did: empty for relative ids and no controllers, as a did:peer:4 needs them.
        keys: by fragment without `#`.
        endpoint: None for a document without services.
    """
    ids = {f"{did}#{fragment}": key for fragment, key in keys.items()}
    signing = [id_ for id_, key in ids.items() if key.curve != "X25519"]
    recipient = next((id_ for id_, key in ids.items() if key.curve == "Ed25519"), None)
    controller = {"controller": did} if did else {}
    services = didcomm_services(endpoint, recipient, did=did, routing_keys=routing_keys, versions=versions)
    body = {
        "@context": list(CONTEXTS),
        "verificationMethod": [
            {
                "id": id_,
                "type": _TYPES.get(key.curve, "Multikey"),
                **controller,
                "publicKeyMultibase": encode_multikey(key),
            }
            for id_, key in ids.items()
        ],
        "authentication": signing,
        "assertionMethod": signing,
        "keyAgreement": [id_ for id_, key in ids.items() if key.curve == "X25519"],
        "service": services,
    }
    return {name: value for name, value in body.items() if value}


def add_agreement_keys(document: dict[str, Any], keys: Iterable[PublicKey], did: str = "") -> None:
    """Adds keys for key agreement to the document of `document_body`, named by the next numbers.

    Args:
        did: empty for relative ids and no controllers.
    """
    methods: list[dict[str, Any]] = document["verificationMethod"]
    for key in keys:
        id_ = f"{did}#key-{len(methods) + 1}"
        controller = {"controller": did} if did else {}
        methods.append({"id": id_, "type": "Multikey", **controller, "publicKeyMultibase": encode_multikey(key)})
        document["keyAgreement"].append(id_)


def didcomm_services(
    endpoint: str | None,
    recipient: str | None,
    *,
    did: str = "",
    routing_keys: Sequence[str] = (),
    versions: Collection[Version] = BOTH,
) -> list[dict[str, Any]]:
    """Returns a `did-communication` service (RFC 0067) for v1, if there is a `recipient`, and a `DIDCommMessaging` one
    (DIDComm Messaging 2.1) for v2.

    Args:
        recipient: DID URL of the Ed25519 key for v1 messages.
        did: empty for relative ids.
        routing_keys: did:key DID URLs, from recipient to sender.
    """
    services: list[dict[str, Any]] = []
    if endpoint and recipient and "v1" in versions:
        services.append(
            {
                "id": f"{did}#did-communication",
                "type": "did-communication",
                "priority": 0,
                "recipientKeys": [recipient],
                "routingKeys": list(routing_keys),
                "accept": list(V1_PROFILES),
                "serviceEndpoint": endpoint,
            }
        )
    if endpoint and "v2" in versions:
        services.append(
            {
                "id": f"{did}#didcomm-messaging",
                "type": "DIDCommMessaging",
                "serviceEndpoint": {
                    "uri": endpoint,
                    "accept": list(V2_PROFILES),
                    # DIDComm v2 lists them the other way round than RFC 0067: the outermost first.
                    "routingKeys": list(reversed(routing_keys)),
                },
            }
        )
    return services
