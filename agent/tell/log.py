"""How the daemon writes its log: one line an event, for people, for machines, or for journald."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Literal

import structlog
from pydantic import Field

from agent.core.settings import Section
from agent.tell import journal


class LogSettings(Section):
    """What is written to stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the least that is logged"
    )
    format: Literal["auto", "text", "json", "journal"] = Field(
        "auto",
        description="lines for people, JSON for machines, or events with fields for systemd-journald; "
        "auto: journal where stderr goes there, else text",
    )


def configure(settings: LogSettings, *, journal_socket: Path = journal.SOCKET) -> None:
    """Set the log up; may be called again when the settings change.

    Args:
        settings: the section [log].
        journal_socket: where journald listens.
    """
    as_journal = settings.format == "journal" or (settings.format == "auto" and journal.stderr_is_journal())
    render: structlog.typing.Processor
    if as_journal:
        render = journal.to_fields
    elif settings.format == "json":
        render = structlog.processors.JSONRenderer()
    else:
        render = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    journal_logger = journal.JournalLogger(journal_socket)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.level.upper())),
        logger_factory=(lambda *_: journal_logger)
        if as_journal
        else structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # Libraries speak through the standard logging: only their warnings are of interest to an administrator.
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s [%(name)s] %(message)s", force=True)
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
