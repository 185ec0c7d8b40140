"""The cache on disk: one directory of immutable shards, an index and a manifest."""

from pipeline.store.feature_store import BadImage, FeatureStore
from pipeline.store.file_names import view_directory
from pipeline.store.index import NO_ROW, Index
from pipeline.store.manifest import BadRow, Manifest, ShardEntry, read_manifest
from pipeline.store.open_store import open_features
from pipeline.store.shard_file import ShardContent, ShardDamaged
from pipeline.store.staged_shard import Receipt, find_problem, list_staged, stage_shard
from pipeline.store.store_layout import StoreLayout
from pipeline.store.views import count_views, drop_views, open_view, open_views, stack_views, view_numbers
from pipeline.store.write_store import StoreWriter, open_for_writing

__all__ = [
    "NO_ROW",
    "BadImage",
    "BadRow",
    "FeatureStore",
    "Index",
    "Manifest",
    "Receipt",
    "ShardContent",
    "ShardDamaged",
    "ShardEntry",
    "StoreLayout",
    "StoreWriter",
    "count_views",
    "drop_views",
    "find_problem",
    "list_staged",
    "open_features",
    "open_for_writing",
    "open_view",
    "open_views",
    "read_manifest",
    "stack_views",
    "stage_shard",
    "view_directory",
    "view_numbers",
]
