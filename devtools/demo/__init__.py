"""The service on this machine, with two tenants that know each other: `make run`, or `python -m devtools.demo`."""

import warnings

from authlib.deprecate import AuthlibDeprecationWarning

# Said once at each start, of a module that `didcomm` imports and that pyproject.toml keeps: no news to whoever watches.
warnings.simplefilter("ignore", AuthlibDeprecationWarning)
