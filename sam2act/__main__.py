"""`python -m sam2act`: the command `sam2act`."""

import sys

from sam2act.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
