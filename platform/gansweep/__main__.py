"""`python -m gansweep`: the command line.

In a checkout it runs the checkout's code, whatever version is installed: `ray job submit --working-dir . -- python -m
gansweep sweep ...` uploads the checkout, whose package is in `platform/` and therefore not on the import path.
"""

import os
import sys
from pathlib import Path

from gansweep.cli.app import main


def checkout() -> list[str]:
    """Returns the source folders of the checkout in the working directory, if its code is not the code that runs."""
    root = Path.cwd()
    package = root / "platform" / "gansweep"
    if not (package / "__main__.py").is_file() or package == Path(__file__).resolve().parent:
        return []
    return [str(root / "platform"), str(root)]


if sources := checkout():
    inherited = [path for path in (os.environ.get("PYTHONPATH"),) if path]
    os.environ["PYTHONPATH"] = os.pathsep.join([*sources, *inherited])
    os.execv(sys.executable, [sys.executable, "-m", "gansweep", *sys.argv[1:]])  # noqa: S606 (no shell is wanted)
sys.exit(main())
