"""Write the table of all claims at the end of a page: python -m samviz.claims notebooks/pages/symbols.md."""

import sys
from pathlib import Path

from samviz.claims.claim import symbols_table

HEADING = "## Claims\n\n"

if __name__ == "__main__":
    page = Path(sys.argv[1])
    kept = page.read_text(encoding="utf-8").partition(HEADING)[0]
    page.write_text(kept + HEADING + symbols_table(), encoding="utf-8")
