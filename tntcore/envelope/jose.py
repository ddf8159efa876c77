"""The libraries for DIDComm v2 envelopes. They take longer to load than all the rest of `envelope`, so `v2` imports
this module only when it needs it.
"""

from __future__ import annotations

import warnings

from authlib.deprecate import AuthlibDeprecationWarning

with warnings.catch_warnings():
    # didcomm needs this module, and pyproject.toml keeps the major version that has it: no news to who runs this.
    warnings.simplefilter("ignore", AuthlibDeprecationWarning)
    from authlib.jose import ECKey, JsonWebEncryption, JsonWebSignature, OKPKey
# It registers the algorithms of its own with authlib.
from didcomm.common.algorithms import AnonCryptAlg, AuthCryptAlg
from didcomm.core import anoncrypt as _anoncrypt
from didcomm.core import authcrypt as _authcrypt
from didcomm.core.types import Key

from tntcore.strict_json import write_json

# didcomm would rewrite the numbers of a message, and offers no other way to change that.
for _module in (_anoncrypt, _authcrypt):
    _module.dict_to_json_bytes = write_json  # type: ignore[attr-defined]
anoncrypt = _anoncrypt.anoncrypt
authcrypt = _authcrypt.authcrypt

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
