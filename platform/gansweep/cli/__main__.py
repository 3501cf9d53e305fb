"""`python -m gansweep.cli`, which is how a submitted job starts."""

import sys

from gansweep.cli.app import main

sys.exit(main())
