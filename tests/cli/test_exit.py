"""How a program ends: one line and an exit status, and nothing left behind in the process."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.cli.exit import one_line_errors
from pipeline.cli.main import main

ROOT = Path(__file__).parent.parent.parent
MOMENTS = {
    "in plain code": "signal.raise_signal(signal.SIGINT)",
    "inside an exec, as when a module with a dataclass is imported": (
        "exec('import signal; signal.raise_signal(signal.SIGINT)')"
    ),
    "in a callback, which swallows every exception": """
class Callback:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
callback = Callback()
del callback
time.sleep(20)
print("went on")
""",
    "in a library that raises another error instead": """
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    raise ImportError("numpy is broken")
""",
    "in a library that swallows it": """
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    pass
""",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interruption_ends_with_one_line_and_status_130(moment):
    body = "\n".join("    " + line for line in MOMENTS[moment].splitlines())
    code = "import signal, time\nfrom pipeline.cli.exit import one_line_errors\n"
    code += f"with one_line_errors('program'):\n{body}\n"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "program: interrupted\n")


def state() -> tuple[object, ...]:
    return signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), sys.unraisablehook


@pytest.mark.parametrize("interrupted", [False, True])
def test_signal_handlers_and_hook_are_restored(interrupted):
    before = state()
    with pytest.raises(SystemExit), one_line_errors("program"):
        assert before[0] != signal.getsignal(signal.SIGINT)
        if interrupted:
            signal.raise_signal(signal.SIGINT)
        sys.exit(0)
    assert state() == before


def test_an_interruption_that_is_swallowed_at_the_end_is_not_lost_and_does_not_reach_the_caller():
    class Callback:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(SystemExit) as exit, one_line_errors("program"):
        callback = Callback()
        del callback
    assert exit.value.code == 130
    threading.Event().wait(0.1)  # a KeyboardInterrupt would end this


def test_main_in_another_thread_than_the_main_thread(tmp_path, capsys):
    statuses = []
    thread = threading.Thread(target=lambda: statuses.append(main(["info", str(tmp_path)])))
    thread.start()
    thread.join()
    assert statuses == [2] and "no store" in capsys.readouterr().err
