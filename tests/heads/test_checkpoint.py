"""Checkpoints of a training: taken up as a whole, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.heads import network, training
from pipeline.heads.checkpoint import read_checkpoint, write_checkpoint
from tests.heads.test_head_files import Payload

IDENTITY = "rows, labels and parameters"
EPOCHS = 3


def course(seed: int) -> training.Epochs:
    rng = np.random.default_rng(seed)
    model = network.build((4,), 2, (3,), 0.5, rng)
    return training.Epochs(training.Network(model, 1e-2, 4), 5, rng)


def data() -> training.Labelled:
    X = np.random.default_rng(1).normal(size=(12, 4)).astype(np.float32)
    return training.Labelled(X, np.arange(12), (X[:, :1] > 0).astype(np.float32), np.ones(12, np.float32))


def standing(course: training.Epochs) -> list[bytes]:
    """All that a checkpoint may change."""
    network = course.network
    arrays = [variable.numpy() for variable in (*network.model.variables, *network.adam.state)]
    best = [weight.tobytes() for weight in course.best_weights or []]
    kept = [course.history, course.seconds, course.best, course.best_epoch, course.rng.bit_generator.state]
    return [*(array.tobytes() for array in arrays), *best, json.dumps(kept).encode()]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory):
    """A training of three epochs, and its checkpoint."""
    path, trained = tmp_path_factory.mktemp("checkpoint") / "checkpoint.npz", course(0)
    for _ in range(EPOCHS):
        trained.run(data(), None)
    write_checkpoint(path, trained, IDENTITY)
    return trained, path


@pytest.fixture(scope="module")
def other() -> training.Epochs:
    return course(7)


def replaced(path: Path, to: Path, **changes) -> Path:
    """The checkpoint with other arrays, or with other fields of its document."""
    arrays = dict(np.load(path))
    document = json.loads(arrays.pop("document").tobytes())
    for name, value in changes.items():
        (arrays if name in arrays else document)[name] = value
    np.savez(to, document=np.frombuffer(json.dumps(document).encode(), np.uint8), **arrays)
    return to


def test_a_training_is_taken_up_with_all_that_its_next_epoch_depends_on(written):
    trained, path = written
    again = course(7)
    assert read_checkpoint(path, again, IDENTITY, epochs=10)
    assert standing(again) == standing(trained)


def test_one_of_another_training_is_passed_over(written, other):
    before = standing(other)
    assert not read_checkpoint(written[1], other, "other labels", epochs=10)
    assert standing(other) == before


def test_where_fewer_epochs_are_asked_for_it_stands_where_they_ended(written, tmp_path):
    trained, path = written
    again = course(7)
    assert read_checkpoint(replaced(path, tmp_path / "early.npz", best_epoch=1), again, IDENTITY, epochs=2)
    assert again.seconds == trained.seconds[:2]
    assert again.history == {name: scores[:2] for name, scores in trained.history.items()}


def test_the_best_weights_of_fewer_epochs_may_be_lost(written, tmp_path, other):
    before = standing(other)
    with pytest.raises(ValueError, match="epoch 3, 2 are asked for"):
        read_checkpoint(replaced(written[1], tmp_path / "late.npz", best_epoch=3), other, IDENTITY, epochs=2)
    assert standing(other) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"rng": {"bit_generator": "PCG64"}},
        {"rng": None},
        {"history": {"loss": [1.0]}},
        {"history": []},
        {"seconds": [1.0, "2", 3.0]},
        {"best": "low"},
        {"best_epoch": 4},
        {"best_epoch": None},
        {"best_3": np.zeros(1)},
        {"state_0": np.zeros((4, 4), np.float32)},
        {"state_5": np.array(["text"])},
    ],
    ids=str,
)
def test_a_damaged_one_changes_nothing(written, tmp_path, other, changes):
    before = standing(other)
    with pytest.raises(ValueError, match="damaged"):
        read_checkpoint(replaced(written[1], tmp_path / "damaged.npz", **changes), other, IDENTITY, epochs=10)
    assert standing(other) == before


def test_flipped_bits_are_damage_or_change_nothing(written, tmp_path):
    trained, path = written
    whole, rng, damaged = path.read_bytes(), np.random.default_rng(0), 0
    expected = standing(trained)
    again = course(7)
    for bit in rng.choice(8 * len(whole), 300, replace=False).tolist():
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        (tmp_path / "flipped.npz").write_bytes(data)
        try:
            assert not read_checkpoint(tmp_path / "flipped.npz", again, IDENTITY, 10) or standing(again) == expected
        except ValueError:
            damaged += 1
    assert damaged > 200


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 no archive", b"[]"])
def test_what_is_no_checkpoint_is_an_error(data, tmp_path, other):
    (tmp_path / "checkpoint.npz").write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        read_checkpoint(tmp_path / "checkpoint.npz", other, IDENTITY, epochs=10)


def test_one_with_a_pickle_runs_nothing(tmp_path, other):
    path = tmp_path / "checkpoint.npz"
    np.savez(path, document=np.array([Payload(tmp_path / "ran")], dtype=object))
    with pytest.raises(ValueError, match="damaged"):
        read_checkpoint(path, other, IDENTITY, epochs=10)
    assert not (tmp_path / "ran").exists()
