"""One run: its folder, its files, the index of all runs, and reading finished runs. Imports config and below."""
