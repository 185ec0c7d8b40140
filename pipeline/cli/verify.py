"""Check names, sizes and fingerprints of a store, and more if asked to; exit status 1 if anything is wrong."""

import argparse
from pathlib import Path

from pipeline import defaults
from pipeline.cli import console
from pipeline.cli.display.words import warn_of_heads
from pipeline.cli.option_types import COUNT
from pipeline.cli.shared_options import select_options
from pipeline.text import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `verify`."""
    parser.add_argument("store", metavar="DIR", help="store filled by `features`")
    parser.add_argument("--full", action="store_true", help="read every byte")
    parser.add_argument("--recompute", **COUNT, default=0, help="compute the features of N random rows again")
    text = "read every image and check that it is still the one in the index"
    parser.add_argument("--sources", action="store_true", help=text)
    text = (
        "compare the probabilities of an exported .keras or .tflite model with the head's; exit status 1 if one "
        "differs by more than the precision explains, such as 0.001 in float32"
    )
    parser.add_argument("--model", metavar="FILE", help=text)
    parser.add_argument("--images", **COUNT, default=defaults.COMPARED, help="validation images that --model compares")


def run(options: argparse.Namespace) -> int:
    """Check a store and, with --model, an exported model; return 1 if anything is wrong."""
    from pipeline.cli.display.callbacks import ConsoleCallbacks
    from pipeline.cli.export import show_agreement
    from pipeline.export.verify import check_record, verify_model
    from pipeline.maintenance.verify import head_directories, verify_store
    from pipeline.store import open_features, view_numbers
    from pipeline.training.saved_heads import list_saved_heads

    store = open_features(options.store)
    if options.model is not None:
        check_record(store, Path(options.model))  # before every byte is read
    if options.recompute:
        console.start_tensorflow_quietly()
    with ConsoleCallbacks() as callbacks:
        checks = select_options(options, "full", "recompute", "sources")
        findings = verify_store(options.store, callbacks=callbacks, **checks)
    for finding in findings:
        console.say(f"{finding.what}: {finding.problem}")
    shards, views = store.manifest.shards, view_numbers(store.directory)
    numbers = {"shard": len(shards), "row": sum(entry.stop - entry.start for entry in shards)}
    numbers |= {"head": len(head_directories(store)), "view": len(views)}
    checked = ", ".join(counted(n, noun) for noun, n in numbers.items() if n or noun != "view")
    depth = "" if options.full else "names, sizes and fingerprints of "
    result = counted(len(findings), "finding") if findings else "nothing wrong"
    console.say(f"checked {depth}{checked}: {result}")
    for remedy in dict.fromkeys(finding.remedy for finding in findings):
        console.say(f"what to do: {remedy.format(store.directory)}")
    warn_of_heads(list_saved_heads(store), store.directory)
    status = 1 if findings else 0
    if options.model is not None:
        console.start_tensorflow_quietly()
        with ConsoleCallbacks() as callbacks:
            agreement = verify_model(store, options.model, images=options.images, callbacks=callbacks)
        status = max(status, show_agreement(store, options.model, agreement))
    return status
