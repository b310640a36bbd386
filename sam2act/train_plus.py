"""`python -m sam2act.train_plus`, or this file by its path: the same as `sam2act train-plus`."""

import sys

from sam2act.cli.train_plus import main

if __name__ == "__main__":
    sys.exit(main())
