"""The Jinja environment of the pages."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.report.mistakes import frequent_confusions
from pipeline.text import counted, printable


def environment() -> Environment:
    """Return the environment that the templates are rendered in."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Names of files and classes may hold characters that are not printable, or that turn the direction of writing.
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.filters |= {"counted": counted, "frequent_confusions": frequent_confusions}
    return environment
