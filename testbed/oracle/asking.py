"""What Slurm does with submissions on combinations of machines: asked of the controller, and kept in a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from testbed.oracle.controller import Controller, Seen
from testbed.oracle.shapes import Combination

Answer = tuple[int, int, int]
"""Tasks that were allocated, those that were not, and how many machines were used."""
REFUSED: Answer = (0, 1, 0)


class Oracle:
    """Answers of one controller.

    Args:
        controller: is asked; None where what is in the file has to do.
        combinations: those that it has, in its order.
        file: where answers are kept, as JSON.
    """

    def __init__(
        self, controller: Controller | None, combinations: Sequence[Combination], file: Path
    ) -> None:
        self._controller = controller
        self._numbers = {c: n for n, c in enumerate(combinations)}
        self._names = {str(c): c for c in combinations}
        self._file = file
        self._known: dict[str, dict[str, Answer]] = {}
        if file.exists():
            told = json.loads(file.read_text())
            self._known = {line: {k: (a, b, c) for k, (a, b, c) in of.items()} for line, of in told.items()}

    def learn(self, lines: Iterable[str], combinations: Iterable[Combination]) -> None:
        """Ask about what is not known yet."""
        wanted = list(combinations)
        missing = [line for line in dict.fromkeys(lines) if any(str(c) not in self.of(line) for c in wanted)]
        if self._controller is None or not missing:
            return
        for start in range(0, len(missing), self._controller.copies):
            part = missing[start : start + self._controller.copies]
            # One that is known in part is asked whole: they go side by side, each on machines of its own.
            told = self._controller.ask([line.split() for line in part], [self._numbers[c] for c in wanted])
            for line, answers in zip(part, told, strict=True):
                known = self._known.setdefault(line, {})
                known.update({str(c): _answer(answers[self._numbers[c]]) for c in wanted})
        self.save()

    def save(self) -> None:
        """Write down what is known."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(self._known, indent=0, sort_keys=True))
        fresh.rename(self._file)

    def of(self, line: str) -> Mapping[str, Answer]:
        """Return combination -> what becomes of a submission there, as far as it is known."""
        return self._known.get(line, {})

    def answer(self, line: str, combination: Combination) -> Answer:
        """Tell what becomes of a submission on these machines.

        Raises:
            KeyError: it is not known, and nobody can be asked.
        """
        if str(combination) not in self.of(line):
            self.learn([line], [combination])
        return self._known[line][str(combination)]

    def starts(self, line: str, combination: Combination) -> bool:
        """Tell whether all of a submission is allocated on these machines."""
        started, waiting, _ = self.answer(line, combination)
        return bool(started) and not waiting


def _answer(seen: Seen | str) -> Answer:
    return REFUSED if isinstance(seen, str) else (seen.started, seen.waiting, len(seen.nodes))
