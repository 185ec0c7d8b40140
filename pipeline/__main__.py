"""`python -m pipeline`."""

import sys

from pipeline.ending import in_one_line

if __name__ == "__main__":
    with in_one_line("pipeline"):
        from pipeline.cli import main

        sys.exit(main())
