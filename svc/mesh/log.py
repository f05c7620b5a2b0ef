"""Structured logs: one JSON object a line on standard error, with no secrets or personal data.

Whoever logs gives ids. What slips in all the same, in the text of a failure of a library or of the
database (which tells the values of the row that it refuses), is taken out before a line is written.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, cast

import structlog

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
HIDDEN = "[hidden]"
SECRET_NAMES = re.compile(
    r"(^|_)(password|passwd|secret|token|seed|authorization|api_key|email|phone|address|ip|device"
    r"|date_of_birth|first_name|last_name|full_name|iban|card)($|_)"
)
"""Fields whose value is never written, whatever it is."""
SECRETS = re.compile(
    r"(?P<email>[\w.+-]+@[\w-]+\.[\w.-]+)"
    r"|(?P<phone>(?<![\w-])\+\d{8,15}\b)"
    r"|(?P<token>\beyJ[\w-]{8,}\.[\w-]+\.[\w-]+)"
    r"|(?P<bearer>(?<=[Bb]earer )\S+)"
    r"|(?P<seed>\bS[A-Z]{1,2}[A-Z2-7]{54,})"
    r"|(?P<url>(?<=://)[^/\s:@]+:[^/\s@]+(?=@))"
)
ROW = re.compile(r"^(\s*DETAIL:).*$", re.MULTILINE)
"""Postgres names the values of the row that it refuses in its detail."""

Line = MutableMapping[str, Any]


def hide(value: Any) -> Any:
    """Return a value without what nobody should read in a log; texts in lists and objects too."""
    if isinstance(value, str):
        return ROW.sub(rf"\1 {HIDDEN}", SECRETS.sub(HIDDEN, value))
    if isinstance(value, dict):
        pairs = cast("dict[Any, Any]", value).items()
        return {key: HIDDEN if _is_secret(key) else hide(item) for key, item in pairs}
    if isinstance(value, (list, tuple, set)):
        return [hide(item) for item in cast("list[Any]", value)]
    return value


def _is_secret(name: object) -> bool:
    return isinstance(name, str) and SECRET_NAMES.search(name) is not None


def without_secrets(_: Any, __: str, line: Line) -> Line:
    """Hide what does not belong into a log, whoever wrote it."""
    for name, value in line.items():
        line[name] = HIDDEN if _is_secret(name) else hide(value)
    return line


def configure(level: str = "info") -> None:
    """Set the process's log level (debug, info, warning, error) and form."""
    number = LEVELS.get(level.lower(), 20)
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        without_secrets,
    ]
    render = structlog.processors.JSONRenderer(default=repr)
    structlog.configure(
        processors=[*processors, render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    # What libraries say takes the same form.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                render,
            ],
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *processors],
        )
    )
    logging.basicConfig(level=max(number, 30), handlers=[handler])


def logger(service: str, instance: str) -> Any:
    """Return the logger of one service instance."""
    return structlog.get_logger().bind(service=service, instance=instance)
