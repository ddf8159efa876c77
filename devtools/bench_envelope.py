"""Packing and unpacking beside the bare primitives, in one interleaved run: `python -m devtools.bench_envelope`.

Prints microseconds per call for a message of 1 KB and one recipient, and the ratio to the floor: what the cryptography
alone costs, with every key already converted, and every shared key already derived where the code caches it.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from hmac import compare_digest

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap
from cryptography.hazmat.primitives.padding import PKCS7
from nacl import bindings

from tntcore.dids.document import DidDocument, VerificationMethod
from tntcore.dids.multiformats import encode_verkey
from tntcore.envelope import PrivateKey, pack_v1, pack_v2, peek, unpack

Call = Callable[[], object]


def v1_calls() -> dict[str, tuple[Call, Call | None]]:
    """What is measured, each with its floor."""
    alice, bob = PrivateKey.generate("Ed25519"), PrivateKey.generate("Ed25519")
    bobs = {encode_verkey(bob.public): bob}
    (kid,) = bobs
    plaintext = _message(1024)
    packed = pack_v1(plaintext, recipients=[kid], sender=alice)

    verkey = encode_verkey(alice.public).encode()
    public, private = bob.to_x25519().public.raw, bob.to_x25519().raw
    shared = bindings.crypto_box_beforenm(public, alice.to_x25519().raw)
    content_key, aad = os.urandom(32), json.loads(packed)["protected"].encode()
    nonce, box_nonce = os.urandom(12), os.urandom(24)
    sealed_sender = bindings.crypto_box_seal(verkey, public)
    sealed_key = bindings.crypto_box_afternm(content_key, box_nonce, shared)
    sealed = bindings.crypto_aead_chacha20poly1305_ietf_encrypt(plaintext, aad, nonce, content_key)

    def pack_floor() -> None:
        bindings.crypto_box_seal(verkey, public)
        bindings.crypto_box_afternm(os.urandom(32), os.urandom(24), shared)
        bindings.crypto_aead_chacha20poly1305_ietf_encrypt(plaintext, aad, os.urandom(12), content_key)

    def unpack_floor() -> None:
        bindings.crypto_box_seal_open(sealed_sender, public, private)
        bindings.crypto_box_open_afternm(sealed_key, box_nonce, shared)
        bindings.crypto_aead_chacha20poly1305_ietf_decrypt(sealed, aad, nonce, content_key)

    return {
        "v1 authcrypt pack": (lambda: pack_v1(plaintext, recipients=[kid], sender=alice), pack_floor),
        "v1 authcrypt unpack": (lambda: unpack(packed, bobs, {}), unpack_floor),
        "v1 peek": (lambda: peek(packed), None),
    }


def v2_calls() -> dict[str, tuple[Call, Call | None]]:
    """As `v1_calls`, for X25519."""
    keys = {f"did:example:{name}#1": PrivateKey.generate("X25519") for name in ("a", "b")}
    a, b = (
        DidDocument(kid[:-2], {kid: VerificationMethod(kid, kid[:-2], key.public)}, key_agreement=(kid,))
        for kid, key in keys.items()
    )
    plaintext = _message(1024)
    message = json.loads(plaintext)
    packed = pack_v2(message, to=b, from_=(a, keys))

    aad = json.loads(packed)["protected"].encode()
    sender, recipient, ephemeral = (X25519PrivateKey.generate() for _ in range(3))
    senders, recipients = sender.public_key(), recipient.public_key()
    epk = ephemeral.public_key().public_bytes_raw()
    content_key, iv, info = os.urandom(64), os.urandom(16), os.urandom(114)

    def wrapping_key(ephemeral_secret: bytes, static_secret: bytes) -> bytes:
        return ConcatKDFHash(hashes.SHA256(), 32, info).derive(ephemeral_secret + static_secret)

    def encrypt(key: bytes, iv: bytes) -> tuple[bytes, bytes]:
        padder = PKCS7(128).padder()
        encryptor = Cipher(algorithms.AES256(key[32:]), modes.CBC(iv)).encryptor()
        text = encryptor.update(padder.update(plaintext) + padder.finalize()) + encryptor.finalize()
        return text, mac(key, text)

    def mac(key: bytes, text: bytes) -> bytes:
        code = hmac.HMAC(key[:32], hashes.SHA512())
        code.update(aad + iv + text)
        return code.finalize()[:32]

    def pack_floor() -> None:
        key = os.urandom(64)
        encrypt(key, os.urandom(16))
        ephemeral = X25519PrivateKey.generate()
        ephemeral.public_key().public_bytes_raw()
        aes_key_wrap(wrapping_key(ephemeral.exchange(recipients), sender.exchange(recipients)), key)

    text, tag = encrypt(content_key, iv)
    wrapped = aes_key_wrap(wrapping_key(ephemeral.exchange(recipients), sender.exchange(recipients)), content_key)

    def unpack_floor() -> None:
        ephemerals = X25519PublicKey.from_public_bytes(epk)
        key = aes_key_unwrap(wrapping_key(recipient.exchange(ephemerals), recipient.exchange(senders)), wrapped)
        compare_digest(mac(key, text), tag)
        decryptor = Cipher(algorithms.AES256(key[32:]), modes.CBC(iv)).decryptor()
        unpadder = PKCS7(128).unpadder()
        unpadder.update(decryptor.update(text) + decryptor.finalize()) + unpadder.finalize()

    return {
        "v2 authcrypt pack": (lambda: pack_v2(message, to=b, from_=(a, keys)), pack_floor),
        "v2 authcrypt unpack": (lambda: unpack(packed, keys, {a.id: a}), unpack_floor),
        "v2 peek": (lambda: peek(packed), None),
    }


def _message(size: int) -> bytes:
    message = {"id": "1", "@type": "t", "type": "t", "from": "did:example:a", "to": ["did:example:b"], "body": {}}
    rest = size - len(json.dumps(message)) - len('"x": ""')
    return json.dumps({**message, "body": {"x": "x" * rest}}).encode()


def microseconds(call: Call, calls: int) -> float:
    """Mean CPU time of one call, over `calls` of them: other work on the machine disturbs it less than a clock."""
    began = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - began) / calls * 1e6


def main() -> None:
    """Measures each call and its floor in turns, and prints the fastest round of each: neighbours only ever add."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--calls", type=int, default=100, help="calls per round")
    options = parser.parse_args()
    rows = v1_calls() | v2_calls()
    measured: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in rows}
    for _ in range(options.rounds):
        for name, (call, floor) in rows.items():
            measured[name][0].append(microseconds(call, options.calls))
            if floor is not None:
                measured[name][1].append(microseconds(floor, options.calls))
    print(f"{'us per call, 1 KB':24}{'ours':>8}{'bare':>8}{'ratio':>8}")
    for name, (ours, bare) in measured.items():
        if bare:
            print(f"{name:24}{min(ours):8.1f}{min(bare):8.1f}{min(ours) / min(bare):8.2f}")
        else:
            print(f"{name:24}{min(ours):8.1f}")


if __name__ == "__main__":
    main()
