"""How old a text says that somebody is: "12 year old", "aged 15", "a sixteen-year-old", "17yo", "under 18"."""

import re

_UNITS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_TEENS = ("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {
    **{word: number for number, word in enumerate((*_UNITS, *_TEENS), start=1)},
    **{word: 10 * number for number, word in enumerate(_TENS, start=2)},
}
_GAP = r"[\s\-‐-―]*"
_WORD = rf"(?:(?:{'|'.join(_TENS)})(?:[\s-]+(?:{'|'.join(_UNITS[:9])}))?|{'|'.join(reversed((*_UNITS, *_TEENS)))})"
_NUMBER = rf"(?<![\w.,])(?:\d{{1,3}}(?:[.,]\d)?|{_WORD})(?![\d])"
_RANGE = rf"(?P<first>{_NUMBER})(?:{_GAP}(?:to|or|/|,)?{_GAP}(?P<second>{_NUMBER}))?"
_OLD = (
    rf"(?:(?:years?|yrs?|yr)(?:{_GAP}(?:olds?|young)|\s+of\s+age)|y\s*/\s*o|y\.\s?o\.?|yo)\b",  # after a number
    rf"(?P<months>(?:months?|weeks?){_GAP}old)\b",
)
_AGES = (
    re.compile(rf"{_RANGE}{_GAP}(?:{'|'.join(_OLD)})"),
    re.compile(rf"\b(?:age[sd]?|age\s+of|ages?\s+between){_GAP}[:=]?{_GAP}{_RANGE}(?!\s*(?:%|th\b|nd\b))"),
    re.compile(rf"\b(?:under|below|younger\s+than){_GAP}(?:the\s+age\s+of\s+)(?P<below>{_NUMBER})"),
    re.compile(rf"\b(?:under|below|younger\s+than|not\s+yet){_GAP}(?P<below>18|eighteen|21|twenty-one)s?\b"),
)


def youngest(text: str) -> float | None:
    """In years, of all the ages in a text in lower case; None for a text without any. Under 18 is 17."""
    ages = [age for pattern in _AGES for found in pattern.finditer(text) for age in _ages(found.groupdict())]
    return min(ages, default=None)


def _ages(found: dict[str, str | None]) -> list[float]:
    if (below := found.get("below")) is not None:
        return [_value(below) - 1]
    years = [_value(number) for number in (found["first"], found.get("second")) if number is not None]
    return [0.0] if found.get("months") is not None else years


def _value(number: str) -> float:
    if number[0].isdigit():
        return float(number.replace(",", "."))
    tens, _, units = number.replace("-", " ").partition(" ")
    return _VALUES[tens] + _VALUES.get(units.strip(), 0)
