"""Our answers are those that AWS gave in the recorded situations: members, messages, codes and status.

Each of the 239 situations is either in `SCENARIOS` (replayed) or in `LEFT_OUT` with its reason; see recorded/README.md.
"""

import pytest

from recorded import concurrency, functions, layers, names, permissions, urls, versions
from recorded.left_out import LEFT_OUT
from recorded.recorder import RECORDED, Recorder

SCENARIOS = {}
for module in (functions, versions, layers, permissions, concurrency, names, urls):
    SCENARIOS |= module.SCENARIOS


def reason_to_leave_out(case):
    return next((reason for start, reason in LEFT_OUT.items() if case.startswith(start)), None)


def test_each_situation_is_replayed_or_left_out_for_a_reason():
    assert len(RECORDED) == 239
    assert not SCENARIOS.keys() - RECORDED.keys()
    unknown = [c for c in RECORDED if c not in SCENARIOS and not reason_to_leave_out(c)]
    assert not unknown
    both = [c for c in SCENARIOS if reason_to_leave_out(c)]
    assert not both
    unused = [start for start in LEFT_OUT if not any(c.startswith(start) for c in RECORDED)]
    assert not unused


@pytest.mark.parametrize("case", [pytest.param(c, id=c.replace(" / ", ".")) for c in RECORDED if c in SCENARIOS])
def test_recorded(case, platform):
    recorder = Recorder(case, platform)
    try:
        SCENARIOS[case](recorder)
    except BaseException:
        print("\n\n".join(recorder.problems))
        raise
    finally:
        recorder.clean_up()
    recorder.finish(layers.EXCUSED.get(case, ()))
