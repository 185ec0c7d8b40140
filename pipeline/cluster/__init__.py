"""Run functions on many processes or machines, through Dask."""

from pipeline.cluster.connect import Cluster, open_cluster
from pipeline.cluster.run_tasks import TaskRun
from pipeline.cluster.workers import Result, Worker

__all__ = ["Cluster", "Result", "TaskRun", "Worker", "open_cluster"]
