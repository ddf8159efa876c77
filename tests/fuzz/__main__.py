"""`python -m tests.fuzz TARGET [--seconds N]`: mutates good input, guided by the code that it reaches (atheris), until
the time is over or something is raised. What raised it is left in `tests/fuzz/found`; with the bug mended it belongs in
`tests/fuzz/corpus/TARGET`, which `make test` runs."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_WORDS = (
    "protected recipients header kid encrypted_key sender iv tag ciphertext payload signatures signature alg "
    "enc apu apv skid epk crv x y typ zip crit @type @id type id from to body thid pthid ~thread attachments "
    "data json base64 links services recipientKeys serviceEndpoint routingKeys handshake_protocols "
    "requests~attach verificationMethod publicKey keyAgreement authentication service publicKeyJwk "
    "publicKeyMultibase did:key: did:peer:2 did:peer:4 did:web: Authcrypt Anoncrypt xchacha20poly1305_ietf "
    "ECDH-1PU+A256KW ECDH-ES+A256KW A256CBC-HS512 EdDSA null true 1e999 \\\\ud800"
)


def main() -> None:
    # Not on every platform.
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["tntcore"]):
        from tests.fuzz.targets import TARGETS, seeds
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    found = HERE / "found"
    found.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        good = Path(folder, "good")
        good.mkdir()
        for number, seed in enumerate(seeds()[options.target]):
            (good / str(number)).write_bytes(seed)
        words = Path(folder, "words")
        words.write_text("".join(f'"{word}"\n' for word in _WORDS.split()))
        corpus = HERE / "corpus" / options.target
        # Ends the process.
        atheris.Setup(
            [
                sys.argv[0],
                f"-max_total_time={options.seconds}",
                "-max_len=20000",
                "-timeout=10",
                "-rss_limit_mb=4096",
                f"-dict={words}",
                f"-artifact_prefix={found}/{options.target}-",
                "-verbosity=0",
                "-print_final_stats=1",
                str(good),
                *([str(corpus)] if corpus.is_dir() else []),
            ],
            TARGETS[options.target],
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
