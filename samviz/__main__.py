"""Run the command line as `python -m samviz`."""

import sys

from samviz.cli import main

sys.exit(main())
