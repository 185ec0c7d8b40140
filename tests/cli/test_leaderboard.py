"""The leaderboard fits into every window without losing a score."""

import itertools

import pytest
from rich.console import Console

from pipeline.cli.display.leaderboard import DROPPED_FIRST, leaderboard
from pipeline.evaluation import Repeats


def row(head="dense", **more):
    return {
        "head": head,
        "accuracy": 0.9707,
        "accuracy_interval": [0.959, 0.982],
        "balanced_accuracy": 0.9704,
        "auc": 0.9956,
        "auc_interval": [0.993, 0.998],
        "fit_seconds": 1124.58,
        "parameters": 3_137_351,
        **more,
    }


FULL = row(
    "finetuned", test={"accuracy": 0.95}, views=8, repeats=Repeats((0, 1), (0.9707, 0.9653)).to_json()
)  # every column


def draw(rows, width, title="785 validation images") -> str:
    console = Console(width=width, soft_wrap=True, highlight=False)
    with console.capture() as capture:
        console.print(leaderboard(title, rows, width))
    return capture.get()


@pytest.mark.parametrize("width", [80, 100, 120, 200])
@pytest.mark.parametrize("present", list(itertools.product([True, False], repeat=4)))
def test_no_line_is_wider_than_the_window_and_no_score_is_cut(width, present):
    absent = list(itertools.compress(("repeats", "test", "views", "auc"), [not value for value in present]))
    out = draw([{**FULL, **dict.fromkeys(absent), "views": 1 if "views" in absent else 8}], width)
    assert max(map(len, out.splitlines())) <= width
    for words in ("finetuned", "accuracy", "0.9707", "[0.959, 0.982]"):
        assert words in out
    assert ("[0.993, 0.998]" in out) == ("auc" not in absent)
    assert ("0.9680 ± 0.0038" in out and "(0.965-0.971)" in out) == ("repeats" not in absent)


def test_in_a_wide_window_each_head_has_one_line_with_all_columns():
    lines = draw([FULL, row()], 200).splitlines()
    (line,) = (line for line in lines if "finetuned" in line)
    for words in ("0.9707 [0.959, 0.982]", "0.9956 [0.993, 0.998]", "0.9680 ± 0.0038 (0.965-0.971)", "0.9500"):
        assert words in line
    assert "3,137,351" in line and "1124.58" in line and " 8 " in line
    assert not any("no room" in line for line in lines)


def test_intervals_stand_below_their_scores_before_a_column_is_left_out():
    out = draw([FULL], 120)
    assert "parameters" in out and "no room" not in out
    assert "0.9707 [" not in out and "[0.959, 0.982]" in out


def test_columns_are_left_out_in_a_fixed_order_and_named_below_the_table():
    left_out = [draw([FULL], width).partition("no room for ")[2].partition(":")[0] for width in range(120, 60, -1)]
    assert list(dict.fromkeys(left_out)) == [", ".join(DROPPED_FIRST[:n]) for n in range(len(DROPPED_FIRST) + 1)]


def test_empty_columns_are_left_out():
    out = draw([row(auc=None, auc_interval=None, repeats=None, views=1)], 200)
    assert not any(name in out for name in ("AUC", "over seeds", "test", "views"))


def test_heads_that_do_not_depend_on_a_seed_have_no_spread():
    assert "no spread" in draw([FULL, row("ridge", repeats=Repeats((), (0.95,)).to_json())], 200)


def test_names_are_shown_without_markup_or_control_characters():
    out = draw([row("[bold]x[/bold]\x1b[2J")], 200, title="photos\x1b[2J on [red]base")
    assert "[bold]x[/bold]\\x1b[2J" in out and "[red]base" in out and "\x1b[2J" not in out
