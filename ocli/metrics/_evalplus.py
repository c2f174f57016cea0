"""EvalPlus' tests from its data: what the canonical solution answers is right, floats to a tolerance.

Source: Liu et al. 2023, https://arxiv.org/abs/2305.01210, and the rules of ``evalplus/eval/__init__.py``: values are compared by
==; where the item has a tolerance, or the right answer is made of floats (1e-6), as numpy's allclose does with a relative 1e-7.
A root that HumanEval/32 asks for is right where the polynomial is near 0.
"""

from __future__ import annotations

from typing import Any

_TESTS = """
from copy import deepcopy

def _floats(value):
    if isinstance(value, (list, tuple)):
        return bool(value) and all(isinstance(one, float) for one in value)
    return isinstance(value, float)

def _near(value, wanted, tolerance):
    if isinstance(wanted, (list, tuple)):
        same = len(value) == len(wanted)
        return same and all(_near(one, other, tolerance) for one, other in zip(value, wanted))
    return value == wanted or abs(value - wanted) <= tolerance + 1e-7 * abs(wanted)

def _compare(value, wanted, tolerance):
    tolerance = tolerance or (1e-6 if _floats(wanted) else 0)
    assert value == wanted or (tolerance and type(value) is type(wanted) and _near(value, wanted, tolerance))

_reference = {{}}
exec({reference!r}, _reference)
for _arguments in {inputs!r}:
    _wanted = _reference[{entry!r}](*deepcopy(_arguments))
    _value = {entry}(*deepcopy(_arguments))
    if {entry!r} == "find_zero":
        assert abs(_reference["poly"](*_arguments, _value)) <= {tolerance!r}
    else:
        _compare(_value, _wanted, {tolerance!r})
"""


def tests_of(item: dict[str, Any]) -> str:
    """Return tests for an item with ``inputs`` (a list of argument lists), ``reference``, ``tolerance`` and ``entry_point``."""
    values = {"reference": item["reference"], "inputs": item["inputs"], "entry": item["entry_point"]}
    return _TESTS.format(**values, tolerance=item.get("tolerance") or 0)
