from pathlib import Path

import pytest

from pipeline.store import open_for_writing
from tests.store.small_stores import ODD, content_of, index_of, manifest_of


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Five images of odd names in three shards."""
    index = index_of(ODD)
    with open_for_writing(tmp_path / "cache") as writer:
        writer.begin(manifest_of(), index)
        for start, stop in index.ranges.tolist():
            writer.put_shard(content_of(index, start, stop), ())
    return tmp_path / "cache"
