"""`python -m sam2act.train`, or this file by its path: the same as `sam2act train`."""

import sys

from sam2act.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
