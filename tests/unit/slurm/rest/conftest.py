"""A slurmrestd that answers with captured replies, of releases that are not installed here."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.slurm.rest.backend import RestBackend
from agent.slurm.rest.transport import Reply
from agent.slurm.settings import SlurmSettings

SAMPLES = Path(__file__).parents[3] / "data" / "slurm"
CALLS = {
    "nodes/": ["get", "post"], "jobs/": ["get"], "node/{n}": ["get", "post", "delete"],
    "job/{id}": ["get", "post", "delete"], "reservations/": ["get"],
}  # fmt: skip
NOT_NEW = {"nodes": [], "jobs": [], "warnings": [{"description": "No job changes since update_time=5"}]}


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 11, 22, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds


class Slurmrestd:
    """Answers with captured replies, or as the test says, and keeps what it was asked."""

    def __init__(self, release: str = "25.11", *versions: int) -> None:
        self.release = release
        self.versions = versions or (44,)
        self.asked: list[tuple[str, str, Mapping[str, object]]] = []
        self.answers: dict[tuple[str, str], Any] = {}
        self.news: Any = NOT_NEW
        self.extra: dict[str, list[str]] = {}

    def call(self, method: str, path: str, *, query: Any = None, body: Any = None) -> Reply:
        self.asked.append((method, path, query or body or {}))
        if path == "/openapi/v3":
            calls = CALLS | self.extra
            described = {
                f"/slurm/v0.0.{v}/{short}": {method: {} for method in methods}
                for v in self.versions
                for short, methods in calls.items()
            }
            return Reply({"paths": described})
        answer = self.news if query and "update_time" in query else self.answers.get((method, path))
        if isinstance(answer, Exception):
            raise answer
        return Reply(answer) if answer is not None else Reply(self.captured(path) if method == "GET" else {})

    def captured(self, path: str) -> dict[str, Any]:
        version, what = path.split("/")[2:4]
        reply: dict[str, Any] = json.loads(
            (SAMPLES / self.release / f"rest-{version}-{what}.json").read_text()
        )
        return reply

    def changes(self) -> list[tuple[str, str, Mapping[str, object]]]:
        return [asked for asked in self.asked if asked[0] != "GET"]


class Recorder:
    """Another way in that notes what it is asked to do."""

    def __init__(self, answer: object = None) -> None:
        self.asked: list[str] = []
        self.answer = answer

    def __getattr__(self, name: str) -> Any:
        def act(*_: object, **__: object) -> object:
            self.asked.append(name)
            return self.answer

        return act


def backend(server: Slurmrestd, aside: Any = None, clock: Clock | None = None) -> RestBackend:
    settings = SlurmSettings(rest_url="unix:/x")
    no_aside = "squeue: cannot be started"
    return RestBackend(settings, clock or Clock(), aside, no_aside=no_aside, transport=server)  # type: ignore[arg-type]
