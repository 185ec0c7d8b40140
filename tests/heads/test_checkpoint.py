"""Checkpoints of a training: a training continues from the whole of one, or is not changed."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.heads.batches import LabelledRows
from pipeline.heads.checkpoint import read_checkpoint, write_checkpoint
from pipeline.heads.compiled_network import CompiledNetwork
from pipeline.heads.dense_network import build_network
from pipeline.heads.epoch_loop import EpochLoop
from tests.heads.test_saving import Payload

IDENTITY = "rows, labels and parameters"
EPOCHS = 3


def new_loop(seed: int) -> EpochLoop:
    rng = np.random.default_rng(seed)
    model = build_network((4,), 2, (3,), 0.5, rng)
    return EpochLoop(CompiledNetwork(model, 1e-2, 4), 5, rng)


def data() -> LabelledRows:
    X = np.random.default_rng(1).normal(size=(12, 4)).astype(np.float32)
    return LabelledRows(X, np.arange(12), (X[:, :1] > 0).astype(np.float32), np.ones(12, np.float32))


def state_of(loop: EpochLoop) -> list[bytes]:
    """Everything that a checkpoint may change."""
    network = loop.network
    arrays = [variable.numpy() for variable in (*network.model.variables, *network.adam.state)]
    best = [weight.tobytes() for weight in loop.best_weights or []]
    kept = [loop.history, loop.seconds, loop.best_loss, loop.best_epoch, loop.rng.bit_generator.state]
    return [*(array.tobytes() for array in arrays), *best, json.dumps(kept).encode()]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory):
    """A training of three epochs, and its checkpoint."""
    path, trained = tmp_path_factory.mktemp("checkpoint") / "checkpoint.npz", new_loop(0)
    for _ in range(EPOCHS):
        trained.run_epoch(data())
    write_checkpoint(path, trained, IDENTITY)
    return trained, path


@pytest.fixture(scope="module")
def other() -> EpochLoop:
    return new_loop(7)


def replaced(path: Path, to: Path, **changes) -> Path:
    """The checkpoint with other arrays, or with other fields of its document."""
    arrays = dict(np.load(path))
    document = json.loads(arrays.pop("document").tobytes())
    for name, value in changes.items():
        (arrays if name in arrays else document)[name] = value
    np.savez(to, document=np.frombuffer(json.dumps(document).encode(), np.uint8), **arrays)
    return to


def test_a_training_continues_with_all_that_its_next_epoch_depends_on(written):
    trained, path = written
    again = new_loop(7)
    assert read_checkpoint(path, again, IDENTITY, epochs=10)
    assert state_of(again) == state_of(trained)


def test_a_checkpoint_of_another_training_is_ignored(written, other):
    before = state_of(other)
    assert not read_checkpoint(written[1], other, "other labels", epochs=10)
    assert state_of(other) == before


def test_with_fewer_epochs_a_training_continues_from_the_last_of_them(written, tmp_path):
    trained, path = written
    again = new_loop(7)
    assert read_checkpoint(replaced(path, tmp_path / "early.npz", best_epoch=1), again, IDENTITY, epochs=2)
    assert again.seconds == trained.seconds[:2]
    assert again.history == {name: scores[:2] for name, scores in trained.history.items()}


def test_best_weights_of_a_later_epoch_are_an_error(written, tmp_path, other):
    before = state_of(other)
    with pytest.raises(ValueError, match="of epoch 3, but epochs=2"):
        read_checkpoint(replaced(written[1], tmp_path / "late.npz", best_epoch=3), other, IDENTITY, epochs=2)
    assert state_of(other) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"rng": {"bit_generator": "PCG64"}},
        {"rng": None},
        {"history": []},
        {"best": "low"},
        {"best_epoch": None},
        {"best_3": np.zeros(1)},
        {"state_0": np.zeros((4, 4), np.float32)},
        {"state_5": np.array(["text"])},
    ],
    ids=str,
)
def test_a_damaged_checkpoint_changes_nothing(written, tmp_path, other, changes):
    before = state_of(other)
    with pytest.raises(ValueError, match="cannot be continued from"):
        read_checkpoint(replaced(written[1], tmp_path / "damaged.npz", **changes), other, IDENTITY, epochs=10)
    assert state_of(other) == before


def test_a_flipped_bit_is_an_error_or_changes_nothing(written, tmp_path):
    trained, path = written
    whole, rng, damaged = path.read_bytes(), np.random.default_rng(0), 0
    expected = state_of(trained)
    again = new_loop(7)
    for bit in rng.choice(8 * len(whole), 300, replace=False).tolist():
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        (tmp_path / "flipped.npz").write_bytes(data)
        try:
            assert not read_checkpoint(tmp_path / "flipped.npz", again, IDENTITY, 10) or state_of(again) == expected
        except ValueError:
            damaged += 1
    assert damaged > 200


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 no archive", b"[]"])
def test_another_file_is_an_error(data, tmp_path, other):
    (tmp_path / "checkpoint.npz").write_bytes(data)
    with pytest.raises(ValueError, match="cannot be continued from"):
        read_checkpoint(tmp_path / "checkpoint.npz", other, IDENTITY, epochs=10)


def test_a_pickle_inside_does_not_run(tmp_path, other):
    path = tmp_path / "checkpoint.npz"
    np.savez(path, document=np.array([Payload(tmp_path / "ran")], dtype=object))
    with pytest.raises(ValueError, match="cannot be continued from"):
        read_checkpoint(path, other, IDENTITY, epochs=10)
    assert not (tmp_path / "ran").exists()
