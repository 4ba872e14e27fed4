"""`python -m sandbox` is the console script `sandbox`."""

import os
import sys

from sandbox.cli import main

if __name__ == "__main__":
    code = main()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # threads of gloo, still ending, sometimes abort an interpreter that ends as well
    raise SystemExit(code)
