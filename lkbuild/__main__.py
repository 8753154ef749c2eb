"""`python -m lkbuild` is `lkbuild`."""

import sys

from lkbuild.cli import main

sys.exit(main())
