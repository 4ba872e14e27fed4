"""Rules compared over paired seeds: one comparison, grids of them, tables, rankings. Imports runs and below."""
