"""`Table`: the rows of a comparison, put together from what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pipeline.comparison.advice import Budgets, advise, describe_test, pareto, recommend
from pipeline.comparison.candidate import AnyCandidate, Candidate, JoinedCandidate, RefusedSpec, join_best
from pipeline.comparison.measure import Measurer
from pipeline.comparison.paired import Difference, paired_difference
from pipeline.comparison.result import Comparison
from pipeline.comparison.row import ComparedRow
from pipeline.comparison.subset import Subset
from pipeline.store import FeatureStore


@dataclass
class Entry:
    """What is known of a candidate: its store and the subsets that it was scored on, the largest one last."""

    candidate: AnyCandidate
    problem: str | None = None
    store: FeatureStore | None = None
    subsets: list[Subset] = field(default_factory=list)


class Table:
    """The rows of a comparison while it runs."""

    def __init__(self, candidates: Sequence[Candidate | RefusedSpec], measurer: Measurer, budgets: Budgets):
        self._entries: dict[str, Entry] = {}
        for candidate in candidates:
            problem = candidate.problem if isinstance(candidate, RefusedSpec) else None
            self._entries[candidate.name] = Entry(candidate, problem)
        self._measurer, self._budgets = measurer, budgets
        self._differences: dict[tuple[str, str, str], Difference] = {}  # by two names and the key of a subset

    def candidate(self, name: str) -> AnyCandidate:
        """Return a candidate by its name."""
        return self._entries[name].candidate

    def add_joined(self) -> dict[str, Subset]:
        """Add the pairs of the best candidates of each network; return the largest subset that both were scored on."""
        ranked = [self.candidate(row.name) for row in self.rows() if row.can_be_taken and row.problem is None]
        subsets = {}
        for pair in join_best([candidate for candidate in ranked if isinstance(candidate, Candidate)]):
            keys = {subset.key for subset in self._entries[pair.parts[0].name].subsets}
            shared = [subset for subset in self._entries[pair.parts[1].name].subsets if subset.key in keys]
            if shared:
                self._entries[pair.name], subsets[pair.name] = Entry(pair), shared[-1]
        return subsets

    def add(self, name: str, store: FeatureStore, subset: Subset) -> None:
        """Add what was measured of a candidate on a subset; the same one replaces the store alone."""
        entry = self._entries[name]
        entry.store, entry.problem = store, None
        if not entry.subsets or entry.subsets[-1] is not subset:
            entry.subsets.append(subset)

    def add_problem(self, name: str, problem: str) -> None:
        """Say why a candidate cannot be compared."""
        self._entries[name].problem = problem

    def measured(self, name: str) -> tuple[Subset, FeatureStore]:
        """Return the largest subset that a candidate was scored on, and its store."""
        entry = self._entries[name]
        assert entry.store is not None
        return entry.subsets[-1], entry.store

    def estimate(self, name: str, subset: Subset) -> float:
        """Estimate the seconds to bring a candidate to a larger subset."""
        smaller, store = self.measured(name)
        score = self._measurer.score(store, smaller)
        assert score is not None
        return self._measurer.estimate(store, subset, score)

    def ranked(self, names: Sequence[str]) -> list[str]:
        """Return the candidates of a step that can go on, the best first; those within the budgets if there are any."""
        rows = [row for row in self.rows() if row.name in names and row.can_be_taken and row.problem is None]
        fitting = [row for row in rows if replace(self._budgets, seconds=None).fits(row)]
        return [row.name for row in fitting or rows]

    def worse_than_first(self, ranked: Sequence[str]) -> set[str]:
        """Return the candidates that are measurably less accurate than the first one."""
        return {name for name in ranked[1:] if self._is_worse(name, ranked[0])}

    def rows(self) -> list[ComparedRow]:
        """Return a row for each candidate, without marks; see `Comparison` for their order."""
        rows = [self._row(entry) for entry in self._entries.values()]
        rows.sort(key=lambda row: (row.accuracy is None, -row.train_images, -(row.accuracy or 0), row.ms or 0))
        return [self._with_difference(row, rows) for row in rows]

    def comparison(self) -> Comparison:
        """Return the comparison as it is now."""
        rows = self.rows()
        taken = recommend(rows, self._budgets, self._row_is_worse)
        names = pareto(rows)
        rows = [replace(row, is_pareto=row.name in names, is_recommended=row is taken) for row in rows]
        if taken is not None:
            rows = [self._with_test(row) if row.is_recommended else row for row in rows]
        first, n_all = self._entries[rows[0].name], len(self._measurer.everything.measured)
        images = len(first.subsets[-1].measured) if first.subsets else 0
        return Comparison(
            directory=self._measurer.directory,
            rows=tuple(rows),
            advice=(
                *advise(rows, self._budgets, self._row_is_worse, is_whole=images >= n_all),
                *describe_test(rows),
            ),
            images=images,
            all_images=n_all,
        )

    def _row(self, entry: Entry) -> ComparedRow:
        candidate = entry.candidate
        row = ComparedRow(
            name=candidate.name,
            conv_base=candidate.conv_base,
            size=candidate.size,
            precision=candidate.precision,
            random_weights=candidate.random_weights,
            problem=entry.problem,
        )
        if entry.store is None or not entry.subsets:
            return row
        subset, score = entry.subsets[-1], self._measurer.score(entry.store, entry.subsets[-1])
        assert score is not None
        size = self._measurer.records[entry.store.fingerprint].model_bytes.get(self._measurer.model_key(score.head))
        row = replace(
            row,
            head=score.head,
            accuracy=score.accuracy,
            accuracy_interval=score.interval,
            train_images=len(subset.of_split("train")),
            validation_images=len(subset.of_split("validation")),
            model_mb=None if size is None else size / 1e6,
        )
        return self._with_costs(row, entry.candidate, entry.store)

    def _with_costs(self, row: ComparedRow, candidate: AnyCandidate, store: FeatureStore) -> ComparedRow:
        """Add what stage one costs; of a joined store, the sums of its parts."""
        if isinstance(candidate, JoinedCandidate):
            parts = [self._row(self._entries[part.name]) for part in candidate.parts]
            costs = ("ms", "feature_mb", "parameters", "estimated_seconds", "measured_seconds")
            columns = {cost: [getattr(part, cost) for part in parts] for cost in costs}
            sums: dict[str, Any] = {cost: None if None in values else sum(values) for cost, values in columns.items()}
            return replace(row, **sums)
        timing = self._measurer.records[store.fingerprint].timing
        estimated, measured = self._measurer.seconds(store)
        return replace(
            row,
            ms=None if timing is None else timing.ms,
            feature_mb=store.bytes_per_row / 1e6,
            parameters=self._measurer.parameters(store),
            estimated_seconds=estimated,
            measured_seconds=measured,
        )

    def _with_difference(self, row: ComparedRow, rows: Sequence[ComparedRow]) -> ComparedRow:
        """Add the difference to the best trained row on the subset that the row was scored on last."""
        if row.accuracy is None:
            return row
        key = self._entries[row.name].subsets[-1].key
        best = max(
            (other for other in rows if self._scored_on(other.name, key)),
            key=lambda other: (not other.random_weights, self._accuracy(other.name, key)),
        )
        if best.name == row.name:
            return row
        difference = self._difference(row.name, best.name, self._entries[row.name].subsets[-1])
        return replace(row, difference=difference.value, difference_interval=difference.interval)

    def _with_test(self, row: ComparedRow) -> ComparedRow:
        subset, store = self.measured(row.name)
        score = self._measurer.score(store, subset)
        if score is None or score.test is None:
            return row
        accuracy, interval = score.test
        return replace(row, test_accuracy=accuracy, test_interval=interval)

    def _scored_on(self, name: str, key: str) -> bool:
        return any(subset.key == key for subset in self._entries[name].subsets)

    def _accuracy(self, name: str, key: str) -> float:
        entry = self._entries[name]
        subset = next(subset for subset in entry.subsets if subset.key == key)
        assert entry.store is not None
        score = self._measurer.score(entry.store, subset)
        return 0.0 if score is None else score.accuracy

    def _difference(self, name: str, other: str, subset: Subset) -> Difference:
        key = (name, other, subset.key)
        if key not in self._differences:
            outcomes, reference = self._outcomes(name, subset), self._outcomes(other, subset)
            units = subset.units[subset.of_split("validation")]
            self._differences[key] = paired_difference(outcomes, reference, units)
        return self._differences[key]

    def _outcomes(self, name: str, subset: Subset) -> np.ndarray:
        entry = self._entries[name]
        assert entry.store is not None
        score = self._measurer.score(entry.store, subset)
        assert score is not None
        return score.outcome_array()

    def _is_worse(self, name: str, other: str) -> bool | None:
        """Return whether a candidate is measurably less accurate than another one on the most images of both.

        None if there are none, as for a store that was joined after a candidate was left behind.
        """
        keys = {subset.key for subset in self._entries[other].subsets}
        shared = [subset for subset in self._entries[name].subsets if subset.key in keys]
        return self._difference(name, other, shared[-1]).is_worse if shared else None

    def _row_is_worse(self, row: ComparedRow, other: ComparedRow) -> bool:
        """Return whether a row is worse than another one, or where they share no images, than the best on its own."""
        is_worse = row.name != other.name and self._is_worse(row.name, other.name)
        if is_worse is None:
            return row.difference_interval is not None and row.difference_interval[1] < 0
        return is_worse
