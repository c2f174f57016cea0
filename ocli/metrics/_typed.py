"""Tests that compare types too, as OpenCompass runs MBPP's: 2 is not 2.0 there, and True is not 1.

Source: opencompass/utils/code_execution.py, ``make_assertions_type_aware``.
"""

from __future__ import annotations

import ast

_SAME = """
def _same(value, wanted):
    if type(value) is not type(wanted):
        return False
    if isinstance(value, (list, tuple)):
        return len(value) == len(wanted) and all(map(_same, value, wanted))
    if isinstance(value, dict):
        value, wanted = list(value.items()), list(wanted.items())
        return len(value) == len(wanted) and all(any(_same(one, other) for other in wanted) for one in value)
    if isinstance(value, (set, frozenset)):
        return len(value) == len(wanted) and all(any(_same(one, other) for other in wanted) for one in value)
    try:
        result = value == wanted
    except Exception:
        return False
    return type(result) is bool and result

"""


class _Assertions(ast.NodeTransformer):
    """Makes ``assert a == b`` an ``assert _same(a, b)``."""

    def visit_Assert(self, node: ast.Assert) -> ast.Assert:
        self.generic_visit(node)
        test = node.test
        if isinstance(test, ast.Compare) and [type(one) for one in test.ops] == [ast.Eq]:
            node.test = ast.Call(ast.Name("_same", ast.Load()), [test.left, *test.comparators], [])
        return node


def typed(tests: str) -> str:
    """Return tests whose ``assert a == b`` compares types too, down to what lists, tuples, sets and mappings hold."""
    return _SAME + ast.unparse(ast.fix_missing_locations(_Assertions().visit(ast.parse(tests))))
