"""`python -m pipeline`."""

import sys

from pipeline.cli.exit import in_one_line

if __name__ == "__main__":
    with in_one_line("pipeline"):
        from pipeline.cli.main import main

        sys.exit(main())
