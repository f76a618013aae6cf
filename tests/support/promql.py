"""What a PromQL expression names."""

from __future__ import annotations

import re

_WORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset"}


def metrics_in(expression: str) -> set[str]:
    """Return the metrics and recorded rules that an expression reads."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", expression)
    bare = re.sub(r"\b(?:by|without|on|ignoring)\s*\([^)]*\)", "", bare)
    names = re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*\b(?!\s*\()", bare)
    return {name for name in names if name not in _WORDS}


def balanced(expression: str) -> bool:
    """Whether every bracket is closed by its own kind."""
    expected = []
    for sign in re.sub(r'"[^"]*"', "", expression):
        if sign in "({[":
            expected.append({"(": ")", "{": "}", "[": "]"}[sign])
        elif sign in ")}]" and (not expected or expected.pop() != sign):
            return False
    return not expected
