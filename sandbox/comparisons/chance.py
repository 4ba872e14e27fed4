"""Which rules of a table are above chance."""

from __future__ import annotations

import math

from sandbox.comparisons.contents import Table, blocks_of, distinct, replicates
from sandbox.statistics import LEVEL, block_means, holm, signed_ranks

TEST = "one-sided signed ranks over {}, adjusted by Holm for all rules"
MEANS = "by means, since there are too few {} for a test"


def above_chance(table: Table) -> tuple[list[str], str]:
    """Return the rules of a table that are above chance, and by which test.

    The replicates of each rule less chance are tested one-sided by signed ranks, with Holm's correction for all rules,
    at 5 %. Where even replicates that all agree could not get there, means decide.

    >>> rows = [{"rule": "bptt", "accuracies": [40.0, 41.0, 42.0, 43.0, 44.0], "accuracy": [42.0, None, None]}]
    >>> above_chance({"chance": 10.0, "rows": rows})
    (['bptt'], 'one-sided signed ranks over seeds, adjusted by Holm for all rules')
    """
    rows, of, what = distinct(table)["rows"], blocks_of(table), replicates(table)
    values = {row["rule"]: block_means(row["accuracies"], of) for row in rows}
    over = {rule: [value - table["chance"] for value in found] for rule, found in values.items()}
    if len(rows) * 2.0 ** -min(map(len, over.values())) >= LEVEL:
        return [row["rule"] for row in rows if row["accuracy"][0] > table["chance"]], MEANS.format(what)
    p = holm([signed_ranks(each).p if all(map(math.isfinite, each)) else 1.0 for each in over.values()])
    return [rule for rule, adjusted in zip(over, p, strict=True) if adjusted < LEVEL], TEST.format(what)
