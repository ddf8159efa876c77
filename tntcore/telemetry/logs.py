"""Log lines as JSON, one object a line:
`{time, level, logger, message, traceId?, spanId?, tenant?, code?, exception?}`."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from tntcore.telemetry.steps import current


class JsonFormatter(logging.Formatter):
    """`traceId`, `spanId` and `tenant` are of the step that the line was logged in; `traceId` and `code`, a stable
    error code, may also be given as `extra`. Nothing else that a record may have on it is written."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        step = current()
        if step is not None and step.trace_id:
            line |= {"traceId": step.trace, "spanId": f"{step.span_id:016x}"}
        if step is not None and step.tenant:
            line["tenant"] = step.tenant
        for name in ("traceId", "code"):
            if isinstance(value := getattr(record, name, None), str):
                line[name] = value
        if record.exc_info and record.exc_info[0] is not None:
            line["code"] = line.get("code", record.exc_info[0].__name__)
            line["exception"] = self.formatException(record.exc_info)
        # Of the standard library, which escapes whatever is no proper text.
        return json.dumps(line)


def install() -> None:
    """Has whoever writes this process's log lines write them as JSON; standard error, if nobody does yet."""
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.StreamHandler())
        root.setLevel(logging.INFO)
    for handler in root.handlers:
        handler.setFormatter(JsonFormatter())
