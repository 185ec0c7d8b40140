"""What a person sees while a step runs: a bar on a terminal, lines in a log."""

import contextlib
import io
import itertools
import re

import pytest

from pipeline.cli import console
from pipeline.cli.display import progress
from pipeline.cli.display.callbacks import ConsoleCallbacks


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        """Return what was drawn, each state of the bar as a line, without control sequences."""
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.getvalue()).replace("\r", "\n")
        return [line.rstrip() for line in text.splitlines() if line.strip()]


@pytest.fixture
def clock(monkeypatch):
    """A clock that advances by a second whenever it is read."""
    seconds = itertools.count()
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(seconds)))


def run_steps(callbacks: ConsoleCallbacks) -> None:
    for done in range(0, 101, 5):
        callbacks.progress("features", done, 100, "images")
        if done == 50:
            callbacks.image_rejected("cats/bad.jpg", "not an image")


def test_a_log_has_a_line_now_and_then_and_one_at_the_end(clock, capsys):
    with ConsoleCallbacks() as callbacks:
        run_steps(callbacks)
    lines = capsys.readouterr().err.splitlines()
    assert "left out: cats/bad.jpg: not an image" in lines
    states = [line for line in lines if line.startswith("features: ")]
    assert 3 <= len(states) <= 8
    assert re.fullmatch(r"features: \d+/100 images, \d\.\d images/s, \d+m?\d*s left", states[0])
    assert re.fullmatch(r"features: 100/100 images, \d\.\d images/s, took .*s", states[-1])


def test_a_step_of_unknown_length_has_no_remaining_time(clock, capsys):
    with ConsoleCallbacks() as callbacks:
        for done in range(30):
            callbacks.progress("predict", done, None, "images")
    lines = capsys.readouterr().err.splitlines()
    assert lines and all(re.fullmatch(r"predict: \d+ images, \d\.\d images/s", line) for line in lines)


def test_a_short_step_leaves_no_line_in_a_log(capsys):
    with ConsoleCallbacks() as callbacks:
        run_steps(callbacks)
    assert capsys.readouterr().err == "left out: cats/bad.jpg: not an image\n"


def test_a_terminal_has_a_bar_and_lines_stand_above_it(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(progress, "BAR_SECONDS", 0.0)
    with ConsoleCallbacks() as callbacks:
        run_steps(callbacks)
    lines = terminal.lines()
    assert re.search(r"features .* 0/100", lines[0]) and "100/100" in lines[-1]
    assert "left out: cats/bad.jpg: not an image" in lines  # a line of its own, without parts of the bar


def test_an_error_closes_the_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with contextlib.suppress(OSError), ConsoleCallbacks() as callbacks:
        callbacks.progress("features", 1, 100, "images")
        raise OSError("disk full")
    console.warn("disk full")
    assert terminal.lines()[-1] == "disk full"
    assert terminal.getvalue().count("\x1b[?25h") == terminal.getvalue().count("\x1b[?25l") == 1  # the cursor is back


@pytest.fixture
def time(monkeypatch) -> list[float]:
    """A clock that shows its only item."""
    time = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: time[0])
    return time


def test_the_last_line_of_a_log_is_not_repeated(time, capsys):
    with ConsoleCallbacks() as callbacks:
        callbacks.progress("features", 0, 100, "images")
        time[0] += progress.LOG_SECONDS
        callbacks.progress("features", 100, 100, "images")
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == ["features: 100/100 images"]


def test_shards_a_second_and_the_slowest_host_of_a_cluster(time, capsys):
    with ConsoleCallbacks() as callbacks:
        for step in ("features", "views"):
            callbacks.progress(step, 0, 100, "images")
            for host, seconds in (("a", 1.0), ("b", 3.0), ("a", 1.0)):
                callbacks.shard_computed(host, 20, seconds)
            time[0] += progress.LOG_SECONDS
            callbacks.shard_computed("c", 20, 2.0)
            callbacks.progress(step, 80, 100, "images")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("80/100 images" in line and "0.40 shards/s on 3 hosts, the slowest is b" in line for line in lines)
