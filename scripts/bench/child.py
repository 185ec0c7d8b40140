"""The child process of `measuring.in_child`: reads a pickled call and writes the pickled result."""

import logging
import os
import pickle
import sys


def main() -> None:
    """Carry out the call and end normally, so that libraries can clean up."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns if several conv bases are loaded
    with os.fdopen(os.dup(1), "wb") as output:
        os.dup2(2, 1)  # the prints of libraries must not become part of the result
        job, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301  # written by our own parent process
        output.write(pickle.dumps(job(*arguments)))


if __name__ == "__main__":
    main()
