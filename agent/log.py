"""How the daemon writes its log: one line an event, for people or for machines."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog
from pydantic import Field

from agent.core.settings import Section


class LogSettings(Section):
    """What is written to stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the least that is logged"
    )
    format: Literal["text", "json"] = Field("text", description="lines for people, or JSON for machines")


def configure(settings: LogSettings) -> None:
    """Set the log up; may be called again when the settings change."""
    renderer = (
        structlog.processors.JSONRenderer()
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # Libraries speak through the standard logging: only their warnings are of interest to an administrator.
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s [%(name)s] %(message)s", force=True)
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
