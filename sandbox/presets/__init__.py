"""Grids of comparisons that are named by `sandbox compare --preset`. Holds YAML and imports nothing."""
