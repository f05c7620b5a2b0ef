"""Structured logs: one JSON object a line on standard error, with no secrets or personal data."""

import logging
import sys
from typing import Any

import structlog

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(level: str = "info") -> None:
    """Set the process's log level (debug, info, warning, error) and form."""
    number = LEVELS.get(level.lower(), 20)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    logging.basicConfig(level=max(number, 30), stream=sys.stderr)


def logger(service: str, instance: str) -> Any:
    """Return the logger of one service instance."""
    return structlog.get_logger().bind(service=service, instance=instance)
