"""`python -m sam2act.doctor`, or this file by its path: the same as `sam2act doctor`."""

import sys

from sam2act.cli.doctor import main

if __name__ == "__main__":
    sys.exit(main())
