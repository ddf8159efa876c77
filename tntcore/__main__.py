"""`python -m tntcore`: the command line, see `tntcore.cli`."""

import sys

from tntcore.cli.main import main

sys.exit(main())
