"""Equal tuning: the same number of trials for every rule on every task. Imports comparisons and below."""
