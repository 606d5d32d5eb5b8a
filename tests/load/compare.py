#!/usr/bin/env python3
"""Holds the newest result of every load script against its earlier ones and ends with 1 where it got worse.

    tests/load/compare.py                       the history in tests/load/results
    tests/load/compare.py FOLDER --require      also 1 where there is nothing to compare with

Compared are only results of the same script, profile and settings, and only figures that are multiples of the baseline of their
own run, so that history from another machine still means something. A figure is held against the median of the last five runs.
"""

import argparse
import glob
import json
import os
import statistics
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
RUNS_MAX = 5
# How much worse than the median a figure may be before it is a regression. Shared machines: the spread of equal runs was up to
# half of these on two busy cores.
REQUESTS_FALL_MAX = 0.30
P95_RISE_MAX = 0.60
SERVER_CPU_RISE_MAX = 0.25
CACHE_SHARE_FALL_MAX = 0.10


def read(folder):
    """Results by script, profile and settings, oldest first."""
    groups = {}
    for path in glob.glob(os.path.join(folder, "*.json")):
        with open(path) as file:
            result = json.load(file)
        settings = {name: value for name, value in result["settings"].items() if name != "project"}
        key = (result["script"], result["profile"], json.dumps(settings, sort_keys=True))
        groups.setdefault(key, []).append(result)
    for results in groups.values():
        results.sort(key=lambda result: result["finished_at"])
    return groups


def figures(result):
    """Name, value, whether more is better, how much worse it may be as a share of the median."""
    for name, value in result["ratios"].items():
        if value is None:
            continue
        if name == "requests":
            yield name, value, True, REQUESTS_FALL_MAX
        else:
            yield name, value, False, SERVER_CPU_RISE_MAX if name == "server_cpu" else P95_RISE_MAX
    if result["answers_from_cache"]:
        yield "answers_from_cache", result["answers_from_cache"], True, CACHE_SHARE_FALL_MAX


def compare(results):
    """Lines about the last result, and what is wrong with it."""
    *earlier, newest = results
    wrong = [f"{newest['checks']['failed']} checks failed"] if newest["checks"]["failed"] else []
    wrong += [f"missed {bound}" for bound in newest["thresholds_failed"]]
    sound = [result for result in earlier if not result["checks"]["failed"]][-RUNS_MAX:]
    lines = []
    for name, value, more_is_better, worse_max in figures(newest):
        before = [value for result in sound for known, value, *_ in figures(result) if known == name]
        if not before:
            continue
        median = statistics.median(before)
        worse = (median - value if more_is_better else value - median) / median
        change = f"{abs(worse):.0%} {'worse' if worse > 0 else 'better'}"
        lines.append(f"  {name}: {value:.4g}, median of {len(before)} before {median:.4g}: {change}, allowed {worse_max:.0%}")
        if worse > worse_max:
            wrong.append(f"{name} is {worse:.0%} worse")
    return lines, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default=os.path.join(HERE, "results"))
    parser.add_argument("--require", action="store_true", help="fail where a result has no earlier one")
    options = parser.parse_args()
    groups = read(options.folder)
    if not groups:
        sys.exit(f"there is no result in {options.folder}")
    is_worse = False
    for (script, profile, _), results in sorted(groups.items()):
        lines, wrong = compare(results)
        if not lines:
            lines = ["  nothing to compare with"]
            wrong += ["no earlier result of these settings"] if options.require else []
        print("\n".join([f"{script} ({profile}), {results[-1]['finished_at']}", *lines, *[f"  WRONG: {problem}" for problem in wrong]]))
        is_worse |= bool(wrong)
    sys.exit(1 if is_worse else 0)


if __name__ == "__main__":
    main()
