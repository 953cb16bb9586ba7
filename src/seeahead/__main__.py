"""`python -m seeahead` is the `seeahead` command."""

import sys

from seeahead.cli import main

if __name__ == "__main__":
    sys.exit(main())
