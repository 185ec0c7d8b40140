"""The other end of `measuring.in_child`: a call comes in pickled, what it returned goes out."""

from __future__ import annotations

import logging
import os
import pickle
import sys


def main() -> None:
    """Answer the one call, and come to an ordinary end, in which libraries clear up."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of loading one conv base after the other
    with os.fdopen(os.dup(1), "wb") as answer:
        os.dup2(2, 1)  # whatever a library prints is no part of the answer
        job, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301  # our own parent wrote it
        answer.write(pickle.dumps(job(*arguments)))


if __name__ == "__main__":
    main()
