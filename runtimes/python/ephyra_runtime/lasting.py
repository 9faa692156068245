"""Keeps what a zygote holds for ever out of the counting of references.

Counting writes to an object whenever it is used, and each page of the zygote's that a copy writes to becomes its own: a
third of what a copy took were pages that it had only counted in. Of objects that are immortal in the sense of PEP 683, as
None is, nothing is counted, and nothing but that is different: they are not freed, as modules hold them in any case.
"""

import ctypes
import gc
import sys
import types

# Those that nothing happens to at their end: to files, locks, and generators it would.
_KINDS = {
    bytes, classmethod, complex, dict, float, frozenset, int, list, property, set, staticmethod, str, tuple, type,
    types.BuiltinFunctionType, types.CellType, types.ClassMethodDescriptorType, types.CodeType, types.FunctionType,
    types.GetSetDescriptorType, types.MemberDescriptorType, types.MethodDescriptorType, types.ModuleType,
    types.WrapperDescriptorType,
}  # fmt: skip

# Of a class that was made at run time (Py_TPFLAGS_HEAPTYPE).
_HEAP_TYPE = 1 << 9


def _is_known():
    """Whether this interpreter counts as is assumed here: from 3.12 to 3.14, in the first four bytes of an object."""
    if sys.implementation.name != "cpython" or not (3, 12) <= sys.version_info[:2] <= (3, 14):
        return False
    # Where interpreters run without a global lock, "t", each thread counts for itself.
    if sys.byteorder != "little" or sys.maxsize < 1 << 32 or "t" in sys.abiflags:
        return False
    count = ctypes.c_uint32.from_address
    probe = object()
    before = count(id(probe)).value
    another = probe
    return count(id(probe)).value == before + 1 and another is probe and count(id(None)).value >= 3 << 30


def _is_plain(kind):
    """Whether it is a class written in Python that does nothing at the end of its instances."""
    if not kind.__flags__ & _HEAP_TYPE or hasattr(kind, "__del__"):
        return False
    return all(base is object or base.__flags__ & _HEAP_TYPE for base in kind.__mro__)


def make_immortal():
    """All that can be reached from what the collector knows; how many objects that were. 0 where it is not possible."""
    if not _is_known():
        return 0
    count, immortal = ctypes.c_uint32.from_address, ctypes.c_uint32.from_address(id(None)).value
    seen, front = {}, gc.get_objects()
    while front:
        fresh = {id(thing): thing for thing in front if id(thing) not in seen}
        seen.update(fresh)
        front = gc.get_referents(*fresh.values()) if fresh else []
    made = 0
    for number, thing in seen.items():
        if type(thing) in _KINDS or isinstance(thing, type) or _is_plain(type(thing)):
            count(number).value = immortal
            made += 1
    return made
