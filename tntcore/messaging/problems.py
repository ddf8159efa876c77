"""Problem reports and acknowledgements, in the forms in use.

RFC 0035 (report-problem 1.0), DIDComm Messaging v2.1 section "Problem Reports" (report-problem 2.0), RFC 0015
(notification 1.0), and the ones that protocols adopt under their own name: `*/problem-report`, `*/problem_report`,
`*/ack`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tntcore.messaging.message import Message
from tntcore.messaging.texts import as_line
from tntcore.messaging.types import parse


@dataclass(frozen=True, slots=True)
class ProblemReport:
    """The content of a problem report; "" or empty for missing parts.

    Attributes:
        code: `description.code` (RFC 0035), `body.code` (2.0), or `problem-code` (DID exchange, RFC 0023).
        comment: for people: `comment`, `explain`, or a description in English or else in any language.
        items: `problem_items` or `problem-items` (v1), `args` (2.0): as sent.
        fields: the report's own members, as sent.
    """

    code: str
    comment: str
    items: tuple[Any, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


def is_problem_report(message_type: str) -> bool:
    """Whether a type is a problem report: of `report-problem`, of `notification`, or of any protocol of its own."""
    return _name(message_type) in ("problem-report", "problem_report")


def is_ack(message_type: str) -> bool:
    """Whether a type is an acknowledgement: of `notification`, or one adopted by a protocol (RFC 0015)."""
    return _name(message_type) == "ack"


def _name(message_type: str) -> str:
    parsed = parse(message_type)
    return parsed.name if parsed else ""


def read_problem_report(message: Message) -> ProblemReport | None:
    """Returns the report in `message`, or None if its type is not a report's. Never raises: malformed parts are left
    out.
    """
    if not is_problem_report(message.type):
        return None
    body = message.body
    description = body.get("description")
    if not isinstance(description, dict):
        description = {"en": description}
    problem = _object(body.get("problem"))
    code = _text(description.get("code"), body.get("code"), body.get("problem-code"), problem.get("code"))
    comment = _text(
        body.get("comment"),
        body.get("explain"),
        description.get("en"),
        problem.get("description"),
        *(text for name, text in description.items() if name != "code"),
    )
    items = next(
        (value for name in ("problem_items", "problem-items", "args") if isinstance(value := body.get(name), list)), []
    )
    return ProblemReport(code, comment, tuple(items), body)


def reason_given(message: Message) -> str:
    """Returns the reason in the problem report `message`: `code: comment`, or one of them, on one line of at most 1,000
    characters.
    """
    report = read_problem_report(message)
    said = (report.code, report.comment) if report is not None else ()
    return as_line(": ".join(dict.fromkeys(filter(None, said))), 1000) or "problem-report"


def ack_status(message: Message) -> str:
    """Returns the `status` of an acknowledgement: `OK`, `FAIL` or `PENDING` (RFC 0015); "" if there is none."""
    return _text(message.body.get("status"))


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(*candidates: Any) -> str:
    return next((text for text in candidates if isinstance(text, str) and text), "")
