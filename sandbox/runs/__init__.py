"""One run: its folder, what it writes, the index of all runs, and reading finished ones. Imports config and below."""
