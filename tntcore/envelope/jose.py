"""The libraries for DIDComm v2 envelopes. They take longer to load than all the rest of `envelope`, so others import
this module in the functions that need it.
"""

from __future__ import annotations

import warnings

from authlib.deprecate import AuthlibDeprecationWarning

with warnings.catch_warnings():
    # didcomm needs this module, and pyproject.toml keeps the major version that has it: no news to who runs this.
    warnings.simplefilter("ignore", AuthlibDeprecationWarning)
    from authlib.jose import ECKey, JsonWebEncryption, JsonWebSignature, OKPKey
import didcomm.core  # noqa: F401  registers the algorithms of ECDH-1PU's and XC20P's drafts with authlib

__all__ = ["ECKey", "JsonWebEncryption", "JsonWebSignature", "OKPKey"]
