"""How many machines were in each state over time: a bounded memory of changes."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from agent.core.views import NodeState, NodeView
from agent.page.model import Sample

KEEP = timedelta(hours=24)
MAX_SAMPLES = 2000
"""Changes that are kept at most: beyond that the memory goes back less far."""


class StateHistory:
    """Remembers each change of the counts. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)

    def observe(self, nodes: Iterable[NodeView], now: datetime) -> None:
        """Take in how things stand; what is older than ``KEEP`` is forgotten."""
        counts = dict(Counter(node.state for node in nodes))
        with self._lock:
            if not self._samples or self._samples[-1].counts != counts:
                self._samples.append(Sample(now, counts))
            # The newest of the old ones still tells how things stood when the memory begins.
            while len(self._samples) > 1 and self._samples[1].time <= now - KEEP:
                self._samples.popleft()

    def samples(self) -> tuple[Sample, ...]:
        """Return the changes, oldest first."""
        with self._lock:
            return tuple(self._samples)


def thin(samples: Sequence[Sample], begin: datetime, end: datetime, columns: int) -> tuple[Sample, ...]:
    """Return the same course from ``begin`` on, in at most ``columns`` + 1 samples: each column's last."""
    width = (end - begin) / columns
    kept: dict[int, Sample] = {}
    for sample in samples:
        if sample.time > end:
            break
        column = max((sample.time - begin) // width, -1) if width else -1
        kept[column] = Sample(max(sample.time, begin), sample.counts)
    return tuple(kept.values())


def peak(samples: Iterable[Sample], state: NodeState) -> int:
    """Return how many machines were in a state at most."""
    return max((sample.counts.get(state, 0) for sample in samples), default=0)
