"""Filters of a question as SQL. Logic is two-valued: whatever SQL leaves unknown is false, and `not` turns that to true."""

import zones

ORDER = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def identifier(name):
    return '"' + name.replace('"', '""') + '"'


def literal(value):
    """A value as SQL."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return f"{value!r}::DOUBLE" if isinstance(value, float) else str(value)


def column_sql(name, kinds):
    """A column, a key of a map, or the time column, which is every name that is no column."""
    if name in kinds:
        return identifier(name)
    outer, dot, key = name.partition(".")
    return f"{identifier(outer)}[{literal(key)}]" if dot and outer in kinds else "_us"


def value_sql(value, name, kinds, zone):
    """A filter's value in the unit of its column."""
    kind = kinds.get(name)
    if value is None:
        return "NULL"
    if kind == "money":
        return str(round(float(value) * 1e9))
    if column_sql(name, kinds) == "_us":
        return str(zones.parse(value))
    return literal(value)


def condition(part, kinds, zone):
    """One filter as an SQL expression that is never null."""
    operator = part[0]
    if operator in ("and", "or"):
        inner = [condition(each, kinds, zone) for each in part[1]]
        # A list without filters: all of none hold, and none of them does.
        return "(" + f" {operator.upper()} ".join(inner or [literal(operator == "and")]) + ")"
    if operator == "not":
        return f"(NOT {condition(part[1], kinds, zone)})"
    if operator in ("is_not", "contains_not", "matches_not"):
        return f"(NOT {condition([operator[:-4], *part[1:]], kinds, zone)})"
    name = part[1]
    column, is_list = column_sql(name, kinds), kinds.get(name) == "strings"
    present = f"len(coalesce({column}, [])) > 0" if is_list else f"{column} IS NOT NULL"
    if operator == "exists":
        return f"({present})"
    if operator in ORDER:
        return f"coalesce({column} {ORDER[operator]} {value_sql(part[2], name, kinds, zone)}, false)"
    folds = len(part) > 3 and part[3].get("case_sensitive") is False
    tests = []
    for value in part[2]:
        if value is None:
            tests.append(f"NOT ({present})")
            continue
        test = lambda text: text_test(operator, text, value, folds)  # noqa: E731, B023
        if is_list:
            tests.append(f"len(list_filter({column}, lambda _x: {test('_x')})) > 0")
        elif operator == "is" and not (isinstance(value, str) and folds):
            tests.append(f"{column} = {value_sql(value, name, kinds, zone)}")
        else:
            tests.append(test(column))
    return "coalesce(" + " OR ".join(f"coalesce({test}, false)" for test in tests) + ", false)"


def text_test(operator, text, value, folds):
    if operator == "matches":
        return f"regexp_matches({text}, {literal(value)}{', ' + literal('i') if folds else ''})"
    pattern = literal(value)
    if folds:
        text, pattern = f"lower({text})", f"lower({pattern})"
    function = {"is": "{} = {}", "contains": "contains({}, {})", "starts_with": "starts_with({}, {})",
                "ends_with": "ends_with({}, {})"}[operator]
    return function.format(text, pattern)
