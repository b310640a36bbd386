"""`python -m sam2act.eval`, or this file by its path: the same as `sam2act eval`."""

import sys

from sam2act.cli.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
