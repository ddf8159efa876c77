"""The members of a presentation definition that a tenant writes (DIF Presentation Exchange 1.0.0, and of 2.0.0 what is
supported). A misspelled constraint would otherwise not be checked. Definitions from others may have more.
"""

from __future__ import annotations

from typing import Any, Final

from tntcore.nearest import names

_REQUIREMENT: Final[dict[str, Any]] = names("name", "purpose", "rule", "count", "min", "max", "from")
_REQUIREMENT["from_nested"] = _REQUIREMENT
_FIELD: Final = names("id", "path", "purpose", "name", "filter", "predicate", "optional", "intent_to_retain")
_CONSTRAINTS: Final = {
    **names("limit_disclosure", "statuses", "subject_is_issuer", "is_holder", "same_subject"),
    "fields": _FIELD,
}
DEFINITION_MEMBERS: Final[dict[str, Any]] = {
    **names("id", "name", "purpose", "format", "frame"),
    "submission_requirements": _REQUIREMENT,
    "input_descriptors": {
        **names("id", "name", "purpose", "metadata", "group", "schema", "format"),
        "constraints": _CONSTRAINTS,
    },
}
