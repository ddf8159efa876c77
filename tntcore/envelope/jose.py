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
from didcomm import core as _registers_the_drafts_algorithms_with_authlib  # noqa: F401

__all__ = ["ECKey", "JsonWebEncryption", "JsonWebSignature", "OKPKey"]
