"""Choose where stage one computes."""

from pipeline.cluster import Cluster
from pipeline.extraction.callbacks import Callbacks
from pipeline.extraction.cluster_engine import ClusterEngine
from pipeline.extraction.engine import Engine
from pipeline.extraction.local_engine import LocalEngine


def choose_engine(
    cluster: Cluster | None, batch_size: int, workers: int | None, mixed: bool, callbacks: Callbacks
) -> Engine:
    """Return the engine that computes on a cluster, or in this process if there is none."""
    if cluster is None:
        return LocalEngine(batch_size, workers, callbacks, mixed=mixed)
    return ClusterEngine(cluster, batch_size, workers, mixed, callbacks)
