"""`python -m pipeline`."""

import sys

from pipeline.cli.exit import one_line_errors

if __name__ == "__main__":
    with one_line_errors("pipeline"):
        from pipeline.cli.main import main

        sys.exit(main())
