"""The compact forms for many images, compared with lists and dicts."""

import copy

import numpy as np
import pytest

from pipeline.images.equal_contents import first_equal
from pipeline.images.ids import MISSING, Ids, match_ids

ODD = ["", "cats/a.png", "cats/émoji 🐈.png", "cats/latin\udce9.png", "dogs/new\nline.png"]


def random_contents(rng: np.random.Generator, n: int) -> np.ndarray:
    """Contents of which many are equal, and many differ in one byte only, which may be the first or the last."""
    contents = np.zeros((n, 32), np.uint8)
    for byte in rng.choice([0, 3, 8, 20, 31], 2):
        contents[:, byte] = rng.integers(0, 4, n)
    return contents


def test_ids_are_a_sequence_of_str():
    ids = Ids.pack(ODD)
    assert len(ids) == 5 and list(ids) == ODD and ids[-2] == ODD[-2] and ids[np.int64(1)] == ODD[1]
    assert "cats/a.png" in ids and "cats/b.png" not in ids and ids.index(ODD[2]) == 2
    for part in (slice(2), slice(1, -1), slice(4, 2), slice(None, None, -2), slice(2, 99)):
        assert ids[part] == ODD[part]
    for row in (5, -6):
        with pytest.raises(IndexError):
            ids[row]
    assert ids == ODD and ids == Ids.pack(ODD) and ids != ODD[1:] and ids != Ids.pack(["", *ODD[1:4], "x"])
    assert Ids.pack(["ab", "c"]) != Ids.pack(["a", "bc"])
    assert Ids.pack(ids) is ids and copy.deepcopy(ids) == ids and list(Ids.pack([])) == []
    assert repr(Ids.pack(["a", "b"])) == "<Ids: 2, 'a', 'b'>"


def test_many_ids_are_iterated_in_order():
    names = [f"class_{i % 7}/IMG_{i}.jpg" for i in range(10_000)]
    assert list(Ids.pack(names)) == names


def test_ids_are_matched_like_with_a_dict():
    rng = np.random.default_rng(0)
    names = sorted(ODD + [f"{'ab'[i % 2]}/{i}\udcff" for i in range(30)])
    for _ in range(100):
        ids, others = (sorted(rng.choice(names, rng.integers(0, 30), replace=False).tolist()) for _ in range(2))
        index_of = {id: i for i, id in enumerate(others)}
        expected = [index_of.get(id, MISSING) for id in ids]
        assert match_ids(ids, others).tolist() == match_ids(Ids.pack(ids), Ids.pack(others)).tolist() == expected
        assert match_ids(Ids.pack(ids), ids).tolist() == list(range(len(ids)))


def test_equal_contents_are_found_like_with_a_dict():
    rng = np.random.default_rng(0)
    for _ in range(200):
        contents = random_contents(rng, int(rng.integers(0, 40)))
        first: dict[bytes, int] = {}
        expected = [first.setdefault(content.tobytes(), i) for i, content in enumerate(contents)]
        assert first_equal(contents).tolist() == expected
