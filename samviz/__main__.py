"""Run the command line as `python -m samviz`."""

import sys

from samviz.cli import main

if __name__ == "__main__":
    sys.exit(main())
