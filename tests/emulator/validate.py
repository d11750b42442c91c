"""Requests held against the API models that botocore ships: what AWS would refuse is refused here.

Checked are required and unknown members, types, enumerations, patterns, lengths and ranges.
"""

import re
from functools import cache

# The models' patterns are Java's, with surrogate pairs that Python spells otherwise.
SURROGATES = r"\uD800\uDC00-\uDBFF\uDFFF"


def problems(shape, value, path="", strict=True):
    """What is wrong with `value`, as lines. `strict`: members that the model lacks are wrong too."""
    kind, meta = shape.type_name, shape.metadata
    where = path or shape.name
    if kind == "structure":
        if not isinstance(value, dict):
            return [f"{where}: not a structure"]
        found = [f"{where}.{name}: required, and missing" for name in shape.required_members if value.get(name) is None]
        for name, member in value.items():
            if member is None:
                continue
            if name in shape.members:
                found += problems(shape.members[name], member, f"{path}.{name}" if path else name, strict)
            elif strict:
                found.append(f"{where}.{name}: no such member")
        return found
    if kind == "list":
        if not isinstance(value, list):
            return [f"{where}: not a list"]
        return sum((problems(shape.member, v, f"{where}[{i}]", strict) for i, v in enumerate(value)), bounds(meta, len(value), where, "length"))
    if kind == "map":
        return sum((problems(shape.value, v, f"{where}.{k}", strict) for k, v in value.items()), [])
    if kind == "string":
        if not isinstance(value, str):
            return [f"{where}: {value!r} is no string"]
        found = bounds(meta, len(value), where, "length")
        if shape.enum and value not in shape.enum:
            found.append(f"{where}: {value!r} is none of {', '.join(shape.enum)}")
        if (pattern := meta.get("pattern")) and not compiled(pattern).fullmatch(value):
            found.append(f"{where}: {value!r} does not match {pattern}")
        return found
    if kind in ("integer", "long", "float", "double"):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return [f"{where}: {value!r} is no number"]
        return bounds(meta, value, where, "value")
    if kind == "boolean" and not isinstance(value, bool):
        return [f"{where}: {value!r} is no boolean"]
    return []


def bounds(meta, number, where, what):
    low, high = meta.get("min"), meta.get("max")
    if low is not None and number < low:
        return [f"{where}: {what} {number} is below {low}"]
    if high is not None and number > high:
        return [f"{where}: {what} {number} is above {high}"]
    return []


@cache
def compiled(pattern):
    try:
        return re.compile(pattern.replace(SURROGATES, "\U00010000-\U0010ffff"), re.S)
    except re.error:
        return re.compile(".*", re.S)
