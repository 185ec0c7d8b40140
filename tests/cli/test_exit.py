"""An interruption ends a program with 130, wherever it meets it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
MOMENTS = {
    "in plain code": "signal.raise_signal(signal.SIGINT)",
    "inside an exec, as of a dataclass that is made while a module is imported": (
        "exec('import signal; signal.raise_signal(signal.SIGINT)')"
    ),
    "in a callback that lets nothing through": """
class Callback:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
callback = Callback()
del callback
time.sleep(20)
print("went on")
""",
    "where a library makes another error of it": """
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    raise ImportError("numpy is broken")
""",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interruption_is_one_line_and_130(moment):
    body = "\n".join("    " + line for line in MOMENTS[moment].splitlines())
    code = "import signal, time\nfrom pipeline.cli.exit import one_line_errors\n"
    code += f"with one_line_errors('program'):\n{body}\n"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "program: interrupted\n")
