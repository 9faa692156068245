"""Ephyra's Python runtime. `loop` serves events; `faults` and `logs` are loaded when there is a need for them."""
