"""The files of the pages that this service serves."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources

from tntcore.api.http import Call, Response
from tntcore.errors import Problem


class PageFiles:
    """The files of one page.

    Args:
        folder: beside this module.
        types: the media type of each file that `load` serves, by its name.
    """

    def __init__(self, folder: str, types: Mapping[str, str]) -> None:
        self._folder = folder
        self._types = types

    def read(self, name: str) -> bytes:
        return _read(self._folder, name)

    def digest(self, name: str) -> str:
        """Returns a short hash of a file."""
        return _digest(self._folder, name)

    # Without a docstring: the API's description would show it.
    async def load(self, call: Call) -> Response:
        name = call.arguments["file"]
        if name not in self._types:
            raise Problem(404, "no-such-path", "There is nothing at this path. Check the path.")
        headers = {
            "cache-control": "public, max-age=86400",
            "x-content-type-options": "nosniff",
            "vary": "accept-encoding",
        }
        if "gzip" in call.request.headers.get("accept-encoding", ""):
            headers["content-encoding"] = "gzip"
            return Response(200, _compressed(self._folder, name), self._types[name], headers)
        return Response(200, self.read(name), self._types[name], headers)


@cache
def _read(folder: str, name: str) -> bytes:
    return resources.files("tntcore.api").joinpath(folder, name).read_bytes()


@cache
def _digest(folder: str, name: str) -> str:
    return hashlib.sha256(_read(folder, name)).hexdigest()[:12]


@cache
def _compressed(folder: str, name: str) -> bytes:
    return gzip.compress(_read(folder, name), mtime=0)
