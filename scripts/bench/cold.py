"""How long it takes before anything happens."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from .growth import run_stage_one
from .measuring import in_child, in_turn, run_command
from .photos import make_tiny
from .results import Figure, figure
from .sizes import Sizes
from .stand_in import SPEC

IMAGES = 100
IMPORT_GOAL = 0.5  # seconds


def measure(sizes: Sizes, photos: Path, work: Path) -> list[Figure]:
    """Seconds of whole processes, from the start of Python to its end."""
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
        run_command(*command)  # byte code and page cache
    jobs = {name: partial(run_command, *command) for name, command in commands.items()}
    measured = in_turn("seconds", sizes.rounds, jobs)
    return [
        figure("cold.python", "Python alone", measured["python"], "s"),
        figure("cold.import", "import pipeline", measured["import"], "s", at_most=IMPORT_GOAL),
        figure("cold.help", "python -m pipeline --help", measured["help"], "s"),
        figure("cold.info", f"python -m pipeline info, {IMAGES} images", measured["info"], "s"),
    ]
