"""Log levels, and the JSON form of log lines, one object a line: `{time, level, logger, message, traceId?, spanId?,
tenant?, code?, exception?}`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from tntcore.telemetry.spans import current


class JsonFormatter(logging.Formatter):
    """Formats records as JSON. `traceId`, `spanId` and `tenant` belong to the span in which the line was logged;
    `traceId` and `code`, a stable error code, can also be given as `extra`. Other attributes of a record are never
    written.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        # A line that was kept back is of the span in which it was logged.
        span = record.__dict__["span"] if "span" in record.__dict__ else current()
        if span is not None and span.trace_id:
            line |= {"traceId": span.trace, "spanId": f"{span.span_id:016x}"}
        if span is not None and span.tenant:
            line["tenant"] = span.tenant
        for name in ("traceId", "code"):
            if isinstance(value := getattr(record, name, None), str):
                line[name] = value
        if record.exc_info and record.exc_info[0] is not None:
            line["code"] = line.get("code", record.exc_info[0].__name__)
            line["exception"] = self.formatException(record.exc_info)
        elif record.exc_text:
            line["exception"] = record.exc_text
        # The standard library's `json` escapes characters that are not proper text.
        return json.dumps(line)


# The words that the worker takes for true (azure_functions_runtime.utils.app_setting_manager.is_true_like).
_TRUE: Final = frozenset({"1", "true", "t", "yes", "y"})


def set_levels(environment: Mapping[str, str]) -> None:
    """Sets the levels of loggers: the service's own INFO, all others WARNING.

    The worker sets the root logger to INFO. The Azure SDK would then write two records of many lines for each call,
    with URLs in them, and the worker one for each invocation. `PYTHON_ENABLE_DEBUG_LOGGING`, the worker's own setting,
    leaves every level as the worker has it.
    """
    if environment.get("PYTHON_ENABLE_DEBUG_LOGGING", "").strip().lower() in _TRUE:
        return
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("tntcore").setLevel(logging.INFO)
    # The one logger to which the worker gives a level of its own.
    logging.getLogger("azure_functions_worker").setLevel(logging.WARNING)


def install() -> None:
    """Makes the handlers of this process write JSON lines; adds one for standard error if there is none yet."""
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.StreamHandler())
        root.setLevel(logging.INFO)
    for handler in root.handlers:
        handler.setFormatter(JsonFormatter())
