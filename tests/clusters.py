"""Clusters whose workers are threads of this process, so that fakes and counters work on them."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any
from unittest import mock

import dask
from distributed import Client, LocalCluster, get_worker

from pipeline.cluster.connect import CONFIG, Cluster
from pipeline.extraction import shard_task


def start_workers(n_workers: int) -> LocalCluster:
    """Start a scheduler and workers of two threads each, in this process."""
    return LocalCluster(
        n_workers=n_workers, threads_per_worker=2, processes=False, dashboard_address="localhost:0", silence_logs=50
    )


@contextlib.contextmanager
def cluster_of_threads(n_workers: int = 2) -> Iterator[Cluster]:
    """Yield a cluster; `lose_worker` and `lose_scheduler` stop parts of it."""
    forget_conv_base()
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    config = {**CONFIG, "distributed.comm.timeouts.connect": "1s"}  # to a scheduler that is lost
    with (
        dask.config.set(config),
        mock.patch("pipeline.cluster.run_tasks.NONE_SECONDS", 0.5),
        mock.patch("pipeline.cluster.connect.NONE_SECONDS", 0.5),
        start_workers(n_workers) as local,
        Client(local) as client,
    ):
        yield Cluster(client, f"{n_workers} threads", None)
    forget_conv_base()


def forget_conv_base() -> None:
    """Forget the conv base that this process has loaded as a worker."""
    shard_task._ahead.clear()
    shard_task._engines.clear()
    shard_task._computers.clear()


def lose_worker(cluster: Cluster, address: str) -> None:
    """Cut the connection of a worker, as a kill does; its functions run on."""
    worker = next(worker for worker in _local(cluster).workers.values() if worker.address == address)
    cluster._client.loop.add_callback(worker.batched_stream.comm.abort)


def lose_scheduler(cluster: Cluster) -> None:
    """Stop the scheduler of a cluster."""
    cluster._client.sync(_local(cluster).scheduler.close)


def add_worker(cluster: Cluster) -> None:
    """Start one more worker."""
    local = _local(cluster)
    local.scale(len(local.worker_spec) + 1)


def workers_of(cluster: Cluster) -> list[str]:
    """Return the addresses of the workers; the first is the one of `Cluster.call`."""
    return list(cluster._client.scheduler_info(n_workers=-1)["workers"])


def here() -> str:
    """Return the address of the worker that runs this function."""
    return str(get_worker().address)


def _local(cluster: Cluster) -> Any:
    return cluster._client.cluster
