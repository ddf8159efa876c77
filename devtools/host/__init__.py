"""A local Azure Functions host for development and tests: a stand-in for Core Tools, not for production."""

from devtools.host.host import Host
from devtools.host.settings import SettingsError

__all__ = ["Host", "SettingsError"]
