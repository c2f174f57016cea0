"""Chinese numerals written as digits; knows no task and registers no extractor."""

from __future__ import annotations

import re

_DIGITS = dict(zip("零〇一二三四五六七八九两壹贰叁肆伍陆柒捌玖", [0, 0, *range(1, 10), 2, *range(1, 10)], strict=True))
_UNITS = {"十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1000, "仟": 1000}
_GROUPS = {"亿": 10**8, "万": 10**4}
_NUMERAL = re.compile(f"[{''.join(_DIGITS)}十拾][{''.join((*_DIGITS, *_UNITS, *_GROUPS))}]*")


def to_digits(text: str) -> str:
    """Write each numeral in digits: 二百六十四 is 264, 二〇一六 is 2016, 十万 is 100000; a unit alone (3.5万) stays as it is."""
    return _NUMERAL.sub(lambda match: str(_value(match.group())), text)


def _value(numeral: str) -> int:
    """Return the value of a numeral: digits in a row are read as they stand, else each is counted by the unit behind it."""
    if not any(sign in _UNITS or sign in _GROUPS for sign in numeral):
        return int("".join(str(_DIGITS[sign]) for sign in numeral))
    total = group = digit = 0
    for sign in numeral:
        if sign in _DIGITS:
            digit = _DIGITS[sign]
        elif sign in _UNITS:
            group += (digit or 1) * _UNITS[sign]
            digit = 0
        else:
            total, group, digit = total + (group + digit) * _GROUPS[sign], 0, 0
    return total + group + digit
