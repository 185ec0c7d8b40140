"""Stage one in two processes, `--on local:2`, compared with the plain command; on the photos of DATA."""

import filecmp
from functools import partial
from pathlib import Path

from .measuring import alternate, run_command, say
from .results import Figure, figure, ratios
from .sizes import Sizes

GOAL = 0.9
ENGINES = {"plain": (), "local:2": ("--on", "local:2")}


def measure(sizes: Sizes, photos: Path, work: Path) -> list[Figure]:
    """Measure whole commands in turn, each with a new store; compare the shards of the last two stores."""
    if not photos.is_dir():
        say(f"  left out: {photos} is no folder of photos, and the digits are too few; give DATA=folder")
        return []
    options = ("--conv-base", "vgg16", "--size", str(sizes.side), "--weights", "random", "--rebuild")
    command = ("-m", "pipeline", "features", photos, *options)
    jobs = {name: partial(run_command, *command, "--cache", work / name, *more) for name, more in ENGINES.items()}
    seconds = alternate("seconds", sizes.rounds, jobs)
    plain, on = (work / name / "shards" for name in ENGINES)
    names = {path.name for folder in (plain, on) for path in folder.glob("*.h5")}
    _, different, missing = filecmp.cmpfiles(plain, on, names, shallow=False)
    note = f"python -m pipeline features {photos.name}, from start to end, with VGG16 and the precision auto"
    n = len(names)
    return [
        figure("two_processes.plain", "one process", seconds["plain"], "s", note=note),
        figure("two_processes.on", "two processes, --on local:2", seconds["local:2"], "s", note=note),
        figure(
            "two_processes.speed",
            "speed of two processes divided by that of one",
            ratios(seconds["plain"], seconds["local:2"]),
            "",
            at_least=GOAL,
        ),
        figure("two_processes.different", f"shards that differ, of {n}", len(different) + len(missing), "", at_most=0),
    ]
