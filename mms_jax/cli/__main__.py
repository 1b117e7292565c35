"""python -m mms_jax.cli is the command `mms-jax`."""

import sys

from mms_jax.cli import main

sys.exit(main())
