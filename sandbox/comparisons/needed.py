"""How many replicates would tell rules apart that are not told apart yet."""

from __future__ import annotations

from contextlib import suppress
from itertools import combinations

from sandbox.comparisons.contents import Table, again_in, blocks_of, distinct, replicates, values_of
from sandbox.statistics import FEWEST, block_means, effect_size, enough, every_pair, seeds_needed

POINTS = 1.0  # a smaller difference is worth no further seeds
NAMED = 3  # pairs in the note


def needed(table: Table) -> str | None:
    """Return a note on the pairs of rules that are over a point apart and not told apart; None without such pairs.

    It names those that need the fewest replicates for a paired t-test with a power of 80 %, with Bonferroni's
    correction for all pairs, but no fewer than Wilcoxon's test needs, and more than there are, which were not enough;
    that test needs about a twentieth more.
    """
    found = _open(table)
    said = []
    for (a, b), differences in sorted(found.items(), key=lambda pair: -abs(effect_size(pair[1])))[:NAMED]:
        with suppress(ValueError):  # more than anybody runs
            wished, pairs = sum(differences) / len(differences), _pairs(table)
            count = seeds_needed(differences, wished, comparisons=pairs)
            said.append((max(enough(pairs), len(differences) + 1, count), f"{a} from {b}"))
    if not said:
        return None
    (first, which), *others = said
    listed = "".join(f", {count} {pair}" for count, pair in others)
    more = f"; {len(found) - len(said)} more such pairs" if len(found) > len(said) else ""
    return (
        f"over {POINTS:g} point apart and not told apart among all pairs: about {first} {replicates(table)} would tell "
        f"{which}{listed}{more}"
    )


def _pairs(table: Table) -> int:
    count = len(distinct(table)["rows"])
    return count * (count - 1) // 2


def _open(table: Table) -> dict[tuple[str, str], list[float]]:
    """Return the differences of each such pair, replicate by replicate; two rows of one rule are none."""
    of, every = blocks_of(table), values_of(table)
    values = {row["rule"]: every[row["rule"]] for row in distinct(table)["rows"]}
    twins = {frozenset(pair) for pair in again_in(table).items()}
    verdict = every_pair(values, of, table.get("answers"))
    found = {}
    for a, b in combinations(values, 2):
        apart = verdict[a, b].words.startswith(("above", "below")) or frozenset((a, b)) in twins
        if not apart and abs(verdict[a, b].difference.mean) > POINTS:  # NaN is not
            found[a, b] = block_means([x - y for x, y in zip(values[a], values[b], strict=True)], of)
    return {pair: differences for pair, differences in found.items() if len(differences) >= FEWEST}
