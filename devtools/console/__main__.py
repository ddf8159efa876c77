"""`python -m devtools.console`: builds the console, and puts it where the service serves it from."""

from __future__ import annotations

import subprocess
import sys

from devtools.console import SERVED, bundle
from devtools.npm import NpmError


def main() -> None:
    try:
        script = bundle()
    except subprocess.CalledProcessError as failed:
        sys.exit(failed.stderr.decode())
    except NpmError as error:
        sys.exit(str(error))
    (SERVED / "console.js").write_bytes(script)
    print(f"{SERVED / 'console.js'}: {len(script)} bytes")


if __name__ == "__main__":
    main()
