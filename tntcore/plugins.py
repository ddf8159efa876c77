"""Extensions that an operator names in a setting, each as `module:factory`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def find_factory(name: str) -> Callable[..., Any]:
    """Returns the factory that `module:factory` names. Raises any error of its import."""
    module, _, factory = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), factory)
    return found
