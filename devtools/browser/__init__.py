"""A headless Chromium from npm, for tests of what a page does; `chromium.mjs` starts it."""

from pathlib import Path

from devtools import npm


def install() -> None:
    """With what drives it; does nothing when it is there already. Raises `devtools.npm.NpmError`."""
    npm.install(Path(__file__).parent, "Chromium (for the tests of the API's page)")
