"""Hooks around a template of SnapStart, and what is random renewed. Loaded only in such an environment."""

import sys


def _run(hooks):
    for function, arguments, keywords in hooks:
        function(*arguments, **keywords)


def _hooks(name):
    # The function may have brought AWS's own module along, which then stands before ours.
    module = sys.modules.get("snapshot_restore_py")
    return list(getattr(module, name)()) if module is not None else []


def before_snapshot():
    """The function is loaded: runs its hooks, the last registered first."""
    _run(reversed(_hooks("get_before_snapshot")))


def after_restore():
    """The first event comes: renews what is random and runs the function's hooks."""
    # Only what the function has imported: importing these here would cost its first call.
    random = sys.modules.get("random")
    if random is not None:
        random.seed()
    uuid = sys.modules.get("uuid")
    if uuid is not None:
        # The state of uuid1, which goes by the time.
        uuid._last_timestamp = None
    _run(_hooks("get_after_restore"))
