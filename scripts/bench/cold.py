"""The start-up time of Python, of the import and of the command line."""

from functools import partial
from pathlib import Path

from .growth import run_stage_one
from .measuring import alternate, in_child, run_command
from .photos import make_tiny
from .results import Figure, figure
from .sizes import Sizes
from .stand_in import SPEC

IMAGES = 100
IMPORT_GOAL = 0.5  # seconds


def measure(sizes: Sizes, photos: Path, work: Path) -> list[Figure]:
    """Measure the seconds that whole processes take, from start to end."""
    folder, cache = work / "few", work / "store"
    make_tiny(folder, IMAGES, SPEC.height_width[0])
    in_child(run_stage_one, folder, cache)
    commands = {
        "python": ("-c", "pass"),
        "import": ("-c", "import pipeline"),
        "help": ("-m", "pipeline", "--help"),
        "info": ("-m", "pipeline", "info", cache),
    }
    for command in commands.values():
        run_command(*command)  # fills the caches of byte code and of files
    jobs = {name: partial(run_command, *command) for name, command in commands.items()}
    seconds = alternate("seconds", sizes.rounds, jobs)
    return [
        figure("cold.python", "Python alone", seconds["python"], "s"),
        figure("cold.import", "import pipeline", seconds["import"], "s", at_most=IMPORT_GOAL),
        figure("cold.help", "python -m pipeline --help", seconds["help"], "s"),
        figure("cold.info", f"python -m pipeline info, {IMAGES} images", seconds["info"], "s"),
    ]
