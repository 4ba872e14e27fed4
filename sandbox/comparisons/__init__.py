"""Comparisons of rules over paired seeds, grids of comparisons, tables and rankings. Imports runs and below."""
