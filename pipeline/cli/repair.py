"""Move bad shards into quarantine and compute only these again."""

import argparse

from pipeline.cli import console
from pipeline.cli.shared_options import add_cluster_options, add_speed_options, open_engine, select_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `repair`."""
    parser.add_argument("store", metavar="DIR", help="store filled by `features`")
    add_cluster_options(parser)
    add_speed_options(parser)


def run(options: argparse.Namespace) -> int:
    """Repair a store; return 1 if images lost their features."""
    from pipeline.cli.display.callbacks import ConsoleCallbacks
    from pipeline.maintenance.repair import repair_store
    from pipeline.text import counted

    with ConsoleCallbacks() as callbacks, open_engine(options) as cluster:
        settings = select_options(options, "batch_size", "workers", "mixed")
        result = repair_store(options.store, cluster=cluster, callbacks=callbacks, **settings)
    for name, problem in result.problems.items():
        console.say(f"{name} {problem}")
    for path in result.quarantined:
        console.say(f"moved to {path}")
    console.list_some("without features now", [f"{image.id}: {image.reason}" for image in result.lost])
    console.say(f"computed {counted(result.rows, 'row')} again" if result.rows else "nothing to repair")
    return 1 if result.lost else 0
