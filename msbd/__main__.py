"""`python -m msbd`."""

import sys

from .standalone.command import main

if __name__ == "__main__":
    sys.exit(main())
