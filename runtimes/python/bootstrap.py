"""Entry of the Python runtime: sets the module search path as Lambda has it, then serves events."""

import os
import sys

# The script's own folder stands first; the function's code and its layers go before it, as on Lambda.
sys.path[0:1] = [
    os.environ["LAMBDA_TASK_ROOT"],
    "/opt/python/lib/python%d.%d/site-packages" % sys.version_info[:2],
    "/opt/python",
    sys.path[0],
]

from ephyra_runtime import loop  # noqa: E402

loop.main()
