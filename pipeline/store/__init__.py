"""The cache on disk: one directory of immutable shards, an index and a manifest."""

from pipeline.store.index import NO_ROW, Index, empty_index
from pipeline.store.manifest import BadRow, Manifest, ShardEntry, read_manifest, stored_spec
from pipeline.store.opening import open_features
from pipeline.store.reading import BadImage, FeatureStore
from pipeline.store.shard import ShardContent, ShardDamaged
from pipeline.store.views import drop_views, open_view, stack_views, view_directory, view_numbers
from pipeline.store.writing import StoreWriter, open_for_writing

__all__ = [
    "NO_ROW",
    "BadImage",
    "BadRow",
    "FeatureStore",
    "Index",
    "Manifest",
    "ShardContent",
    "ShardDamaged",
    "ShardEntry",
    "StoreWriter",
    "drop_views",
    "empty_index",
    "open_features",
    "open_for_writing",
    "open_view",
    "read_manifest",
    "stack_views",
    "stored_spec",
    "view_directory",
    "view_numbers",
]
