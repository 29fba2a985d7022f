"""Lets `python -m runyard.cli` be the same as `runyard`."""

import sys

from runyard.cli.main import main

sys.exit(main())
