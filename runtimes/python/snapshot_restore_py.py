"""Hooks around a version's template, under the names of AWS's own module for SnapStart.

Hooks registered with `register_before_snapshot` run when the function is loaded, the last registered first; those with
`register_after_restore` before the first event, in the order of registration.
"""

_before_snapshot = []
_after_restore = []


def _register(hooks, function, arguments, keywords):
    if not callable(function):
        raise TypeError("a hook is something that can be called")
    hooks.append((function, arguments, keywords))
    return function


def register_before_snapshot(func, *args, **kwargs):
    """Has `func` called with these arguments before the environment is kept. Works as a decorator too."""
    return _register(_before_snapshot, func, args, kwargs)


def register_after_restore(func, *args, **kwargs):
    """Has `func` called with these arguments before the first event. Works as a decorator too."""
    return _register(_after_restore, func, args, kwargs)


def get_before_snapshot():
    """What was registered, in order: tuples of function, arguments and keyword arguments."""
    return _before_snapshot


def get_after_restore():
    """What was registered, in order: tuples of function, arguments and keyword arguments."""
    return _after_restore
