"""Try to break the pipeline on many machines: kills of all its processes, and workers with faults.

    python -m scripts.torture.cluster [--images FOLDER] [--n N] [--parts a,b,c,d,e,f]

All machines are processes of this one; see `scripts/torture/__init__.py`.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import ClassVar

from . import array_parts, cluster_faults, cluster_kills
from .__main__ import Torture, main
from .results import Result


class ClusterTorture(Torture):
    """The parts by letter; random kills are shared among them."""

    NAMES: ClassVar[Sequence[str]] = (
        *("a workers", "b coordinators", "c schedulers"),
        *("d stops", "e faulty workers", "f arrays"),
    )

    def a(self) -> Iterator[Result]:
        """Kill workers."""
        yield cluster_kills.kill_workers_at_every_step(self.few, self.work)
        yield cluster_kills.kill_workers_at_random(self.whole, self.work, self._kills(0.4), self.options.seed)

    def b(self) -> Iterator[Result]:
        """Kill coordinators."""
        seed = self.options.seed
        yield cluster_kills.kill_coordinators_at_random(self.whole, self.work, self._kills(0.25), seed)
        if not self.options.quick:
            yield cluster_kills.kill_coordinators_at_every_step(self.few, self.work)
            yield cluster_kills.kill_local_coordinators(self.whole, self.work, self._kills(0.05), seed)

    def c(self) -> Iterator[Result]:
        """Kill schedulers."""
        yield cluster_kills.kill_schedulers(self.whole, self.work, self._kills(0.05), self.options.seed)

    def d(self) -> Iterator[Result]:
        """Stop workers, and wake them."""
        steps = range(1, 8, 3) if self.options.quick else range(1, 15)  # a shard takes seven
        yield cluster_faults.stop_workers(self.whole, self.work, steps)

    def e(self) -> Iterator[Result]:
        """Let workers have faults."""
        yield cluster_faults.damage_workers(self.whole, self.work, 3 if self.options.quick else 1)

    def f(self) -> Iterator[Result]:
        """Kill the parts of an array."""
        yield array_parts.kill_parts_at_every_step(self.few, self.work)
        yield array_parts.kill_parts_at_random(self.whole, self.work, self._kills(0.25), self.options.seed)

    def _kills(self, share: float) -> int:
        return round(share * self.options.kills)


if __name__ == "__main__":
    sys.exit(main(kind=ClusterTorture))
