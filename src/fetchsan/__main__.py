# SPDX-License-Identifier: GPL-2.0-or-later
"""`python -m fetchsan`: the same command, where the entry point is not on PATH."""

from __future__ import annotations

import sys

from fetchsan.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
