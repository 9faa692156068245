"""Entry of the Python runtime: sets the module search path as Lambda has it, then serves events."""

import builtins
import os
import sys

import _sitebuiltins

# The script's own folder stands first; the function's code and its layers go before it, as on Lambda.
sys.path[0:1] = [
    os.environ["LAMBDA_TASK_ROOT"],
    "/opt/python/lib/python%d.%d/site-packages" % sys.version_info[:2],
    "/opt/python",
    sys.path[0],
]

# Python runs without `site`, which would bring the machine's own packages in; these two are what handlers use of it.
for name in ("exit", "quit"):
    setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D (i.e. EOF)"))


def serve():
    """Serves events until the host goes."""
    from ephyra_runtime import loop

    loop.main()


# Not in the processes that a handler starts by multiprocessing's `spawn`, which run this file anew under another name;
# in a zygote's copies it is called when they are somebody's.
if __name__ == "__main__":
    serve()
