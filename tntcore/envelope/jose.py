"""The libraries that DIDComm v2 envelopes are made with. They take longer to load than all the rest of `envelope`, so
`v2` imports this module where it needs it."""

from __future__ import annotations

import warnings

from authlib.deprecate import AuthlibDeprecationWarning

with warnings.catch_warnings():
    # didcomm needs this module, and pyproject.toml keeps the major version that has it: no news to who runs this.
    warnings.simplefilter("ignore", AuthlibDeprecationWarning)
    from authlib.jose import ECKey, JsonWebEncryption, JsonWebSignature, OKPKey
# It registers the algorithms of its own with authlib.
from didcomm.common.algorithms import AnonCryptAlg, AuthCryptAlg
from didcomm.core.anoncrypt import anoncrypt
from didcomm.core.authcrypt import authcrypt
from didcomm.core.types import Key

__all__ = [
    "AnonCryptAlg",
    "AuthCryptAlg",
    "ECKey",
    "JsonWebEncryption",
    "JsonWebSignature",
    "Key",
    "OKPKey",
    "anoncrypt",
    "authcrypt",
]
