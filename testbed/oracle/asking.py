"""What is asked of slurmctld about submissions, and the file in which its answers are kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from testbed.oracle.controller import Controller, Seen
from testbed.oracle.shapes import Combination

Answer = tuple[int, int, int]
"""Tasks that were allocated, those that were not, and how many machines were used."""
AT_ONCE = 600
"""Questions to one slurmctld."""
_AT_ONCE_OF_ARRAY = re.compile(r"--array=\S+%(\d+)")
REFUSED: Answer = (0, 1, 0)


class Oracle:
    """Answers for one configuration.

    Args:
        controller: is asked.
        file: where answers are kept, as JSON.
    """

    def __init__(self, controller: Controller, file: Path) -> None:
        self._controller = controller
        self._file = file
        self._known: dict[str, dict[str, Answer]] = {}
        if file.exists():
            told = json.loads(file.read_text())
            self._known = {line: {k: (a, b, c) for k, (a, b, c) in of.items()} for line, of in told.items()}

    def learn(self, questions: Iterable[tuple[str, Combination]]) -> None:
        """Ask what is not known yet: submissions, each on some machines."""
        missing = [q for q in dict.fromkeys(questions) if str(q[1]) not in self._known.get(q[0], {})]
        for start in range(0, len(missing), AT_ONCE):
            part = missing[start : start + AT_ONCE]
            told = self._controller.ask([(line.split(), combination) for line, combination in part])
            for (line, combination), seen in zip(part, told, strict=True):
                self._known.setdefault(line, {})[str(combination)] = _answer(seen)
            self._save()

    def _save(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(self._known, sort_keys=True).replace("}, ", "},\n"))
        fresh.rename(self._file)

    def knows(self, line: str) -> bool:
        """Tell whether it was asked about a submission before."""
        return line in self._known

    def answer(self, line: str, combination: Combination) -> Answer:
        """Tell what becomes of a submission on these machines."""
        self.learn([(line, combination)])
        return self._known[line][str(combination)]

    def starts(self, line: str, combination: Combination) -> bool:
        """Tell whether all of a submission that may run at once is allocated on these machines."""
        started, waiting, _ = self.answer(line, combination)
        limit = _AT_ONCE_OF_ARRAY.search(line)
        return bool(started) and (not waiting or (limit is not None and started >= int(limit[1])))


def _answer(seen: Seen | str) -> Answer:
    return REFUSED if isinstance(seen, str) else (seen.started, seen.waiting, len(seen.nodes))
