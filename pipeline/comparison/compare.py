"""`compare_conv_bases`: which conv base to take, measured on the user's own images."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.comparison.advice import Budgets
from pipeline.comparison.candidate import Candidate, RefusedSpec, make_candidates
from pipeline.comparison.halving import affordable, next_step, survivors
from pipeline.comparison.measure import Measurer
from pipeline.comparison.result import Comparison, read_records, write_comparison_file
from pipeline.comparison.subset import Subset, choose_subset
from pipeline.comparison.table import Table
from pipeline.conv_base.spec import ConvBaseSpec
from pipeline.defaults import COMPARED_PER_CLASS
from pipeline.errors import ImagesError, PipelineError, SpecError
from pipeline.extraction.callbacks import SILENT, Callbacks
from pipeline.files.lock import lock_directory
from pipeline.images.table import ImageTable
from pipeline.text import format_duration
from pipeline.training.make_heads import make_heads


def compare_conv_bases(
    images: ImageTable,
    specs: Sequence[ConvBaseSpec | RefusedSpec],
    directory: str | Path,
    *,
    per_class: int = COMPARED_PER_CLASS,
    full: bool = False,
    heads: Sequence[str] = ("logistic",),
    joined: bool = False,
    budgets: Budgets | None = None,
    callbacks: Callbacks = SILENT,
) -> Comparison:
    """Compare conv bases on a subset of the images, and the best of them on more.

    Each spec gets an ordinary store below `directory`, which `extract_features` continues with the other images, so
    nothing is computed twice. After an interruption the same call goes on. A spec that cannot be compared becomes a
    row with a problem.

    Parameters
    ----------
    images : ImageTable
        The images, as `scan_images` returns them.
    specs : sequence of ConvBaseSpec
        The conv bases; the precision `auto` is taken for float32. A `RefusedSpec` is a row with its problem.
    directory : path
        Where the stores and `comparison.json` are, with everything that was measured.
    per_class : int
        Train images of each class in the first step; of the other splits it takes the same share.
    full : bool
        Whether to go on: the better half of the specs, and those that are not measurably worse than the best one, get
        four times as many images, until all images are used (successive halving).
    heads : sequence of str
        Heads to train on each store; the best one on the validation images counts.
    joined : bool
        Whether to compare the features of two conv bases side by side, too: of each pair of networks, each in its
        best size and precision, see `join_stores`. It computes no features; its costs are the sums of both.
    budgets : Budgets, optional
        Limits of what is recommended. No step of `full` is started that would take longer than `seconds` in total.
    callbacks : Callbacks, optional

    Returns
    -------
    Comparison
        It is also written to `comparison.json` after every measurement.

    Raises
    ------
    ImagesError
        There are no train or no validation images, or `per_class` is out of range.
    SpecError
        There are no specs.
    HeadError
        There is no such head.
    StoreBusy
        Another process compares in this directory.
    OSError
        A full disk or an I/O error; what was finished is kept.
    KeyboardInterrupt
        What was finished is kept; the same call goes on.
    """
    candidates = make_candidates(specs)
    if not candidates:
        raise SpecError("there are no conv bases to compare")
    make_heads(heads, None)  # raises HeadError
    counts = images.counts().sum(axis=0)
    if per_class < 1 or not counts[0] or not counts[1]:
        raise ImagesError(
            f"{counts[0]} train and {counts[1]} validation images, {per_class} of each class: at least 1 of each"
        )
    with lock_directory(Path(directory)):
        run = _Run(images, Path(directory), candidates, tuple(heads), budgets or Budgets(), callbacks)
        return run.run(per_class, full, joined)


class _Run:
    """One call of `compare_conv_bases`."""

    def __init__(
        self,
        images: ImageTable,
        directory: Path,
        candidates: list[Candidate | RefusedSpec],
        heads: tuple[str, ...],
        budgets: Budgets,
        callbacks: Callbacks,
    ):
        self.images, self.candidates, self.budgets, self.callbacks = images, candidates, budgets, callbacks
        self.start = time.monotonic()
        records = read_records(directory)
        self.measurer = Measurer(images, directory, heads, records, callbacks, self._save)
        self.table = Table(candidates, self.measurer, budgets)

    def run(self, per_class: int, full: bool, joined: bool) -> Comparison:
        """Run the steps, score the row to take on the test images, and return the result."""
        names, step = [candidate.name for candidate in self.candidates if isinstance(candidate, Candidate)], 1
        subset = self._choose(per_class)
        seconds: float | None = None
        while names:
            self.callbacks.comparison_step_planned(step, names, len(subset.measured), seconds)
            self._measure(names, subset, is_limited=step == 1)
            if not full or subset.per_class is None:
                break
            ranked = self.table.ranked(names)
            kept = survivors(ranked, self.table.worse_than_first(ranked))
            subset, step = self._choose(next_step(self.images, subset.per_class)), step + 1
            names, seconds = self._afford(kept, subset)
        pairs = self.table.add_joined() if joined else {}
        for i, (name, shared) in enumerate(pairs.items(), 1):
            self._measure_one(name, shared, i, len(pairs))
        if row := self.table.comparison().recommended:
            self._score_on_test(row.name)
        self._save()
        return self.table.comparison()

    def _choose(self, per_class: int | None) -> Subset:
        """Choose the images of a step; all of them if they are no more."""
        everything, subset = self.measurer.everything, choose_subset(self.images, per_class)
        return everything if len(subset.members) == len(everything.members) else subset

    def _measure(self, names: list[str], subset: Subset, is_limited: bool) -> None:
        for i, name in enumerate(names, 1):
            left = self._left()
            if is_limited and left is not None and left <= 0:
                self.table.add_problem(name, f"not started: the {format_duration(self.budgets.seconds or 0)} are over")
            else:
                self._measure_one(name, subset, i, len(names))

    def _measure_one(self, name: str, subset: Subset, number: int, total: int) -> None:
        self.callbacks.spec_started(name, number, total)
        try:
            store = self.measurer.measure(self.table.candidate(name), subset)
        except PipelineError as error:
            self.table.add_problem(name, str(error))
            self.callbacks.spec_failed(name, str(error))
            return
        self.table.add(name, store, subset)
        self._save()
        gc.collect()  # the conv base

    def _left(self) -> float | None:
        limit = self.budgets.seconds
        return None if limit is None else limit - (time.monotonic() - self.start)

    def _afford(self, names: list[str], subset: Subset) -> tuple[list[str], float]:
        """Return the specs of the next step that the budget suffices for, and the seconds that they take."""
        seconds = {name: self.table.estimate(name, subset) for name in names}
        taken, left = affordable(names, seconds, self._left()), self._left()
        if dropped := [name for name in names if name not in taken]:
            self.callbacks.comparison_limited(dropped, sum(seconds[name] for name in dropped), left or 0.0)
        return taken, sum(seconds[name] for name in taken)

    def _score_on_test(self, name: str) -> None:
        subset, store = self.table.measured(name)
        test = subset.of_split("test")
        score = self.measurer.score(store, subset)
        if not len(test) or score is None or score.test is not None:
            return
        store = self.measurer.fill(self.table.candidate(name), subset.members, is_test=True)
        tested, _ = self.measurer.score_again(store, subset, score.head)
        self.measurer.records[store.fingerprint].scores[self.measurer.key(subset)] = replace(score, test=tested.test)
        self.table.add(name, store, subset)

    def _save(self) -> None:
        write_comparison_file(self.table.comparison(), self.measurer.records)
