"""``python -m segcrit`` does what the command ``segcrit`` does."""

from __future__ import annotations

import sys

from segcrit.cli import main

if __name__ == "__main__":
    sys.exit(main())
