"""Similar rows are found in blocks, and their pairs are limited."""

import numpy as np
import pytest

from pipeline.duplicates import Duplicates, Pair, similar_features
from pipeline.duplicates.similar_features import similar_rows


class CountedRows:
    """Rows that count how many of them are read."""

    def __init__(self, X):
        self.X, self.shape, self.dtype, self.read = X, X.shape, X.dtype, 0

    def __len__(self):
        return len(self.X)

    def __getitem__(self, rows):
        self.read += len(self.X[rows])
        return self.X[rows]


@pytest.fixture
def X():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 2, 2, 6)).astype(np.float16)
    X[40:] = X[:10] + rng.normal(size=(10, 2, 2, 6)) * np.linspace(0, 1.5, 10)[:, None, None, None]
    return X


@pytest.mark.parametrize("block", [1, 7, 50, 1000])
def test_the_size_of_blocks_does_not_change_the_pairs(X, block, monkeypatch):
    monkeypatch.setattr(similar_features, "BLOCK_ROWS", block)
    monkeypatch.setattr(similar_features, "MAX_PAIRS", 50)
    pooled = X.astype(np.float64).mean(axis=(1, 2))
    rows = (pooled - pooled.mean(axis=0)) / pooled.std(axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = np.triu(rows @ rows.T, 1)
    found = similar_rows(X, 0.5)
    assert 10 < len(found.rows) < 600
    assert sorted(map(tuple, found.rows.tolist())) == list(zip(*np.nonzero(cosines >= 0.5), strict=True))
    np.testing.assert_allclose(found.similarity, cosines[tuple(found.rows.T)], atol=1e-3)


def test_each_row_is_read_once(X, monkeypatch):
    monkeypatch.setattr(similar_features, "BLOCK_ROWS", 8)
    rows = CountedRows(X)
    similar_rows(rows, 0.5)
    assert rows.read == len(X)


def test_many_similar_rows_make_few_pairs_and_stay_connected(monkeypatch):
    monkeypatch.setattr(similar_features, "BLOCK_ROWS", 16)
    X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    X[:40] = X[0]
    pairs = similar_rows(X, 0.99).rows
    assert len(pairs) <= 40 * similar_features.MAX_PAIRS
    ids = [(str(first), str(second)) for first, second in pairs.tolist()]
    found = Duplicates(tuple(Pair(pair, ("train",) * 2, ("a",) * 2, "near", 1, 1) for pair in ids), 60)
    assert [len(group) for group in found.groups()] == [40]


@pytest.mark.parametrize("block", [4, 100])
def test_connected_rows_stay_connected_when_pairs_are_left_out(block, monkeypatch):
    """The first row is similar to all others, which are not similar to one another."""
    monkeypatch.setattr(similar_features, "BLOCK_ROWS", block)
    monkeypatch.setattr(similar_features, "MAX_PAIRS", 1)
    X = np.eye(12, dtype=np.float32) - 1 / 12
    X[0] = 0.0
    shown = similar_rows(X, -1.0, lambda pairs: pairs.take(pairs.rows[:, 0] == 0))
    assert sorted(shown.rows[:, 1].tolist()) == list(range(1, 12))


def test_the_most_similar_of_many_pairs_are_listed(monkeypatch):
    monkeypatch.setattr(similar_features, "MAX_PAIRS", 2)
    monkeypatch.setattr(similar_features, "BLOCK_ROWS", 4)
    angles = np.array([0, 0.5, 0.4, 0.3, 0.2, 0.1, *np.linspace(2, 5.5, 6)])
    X = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    of_first = [pair for pair in similar_rows(X, 0.8).rows.tolist() if pair[0] == 0]
    assert of_first[::-1] == [[0, 5], [0, 4]]
