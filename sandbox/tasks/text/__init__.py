"""Text: tokenizers, blocks of tokens, and the tasks made of them. Imports `rules` and the base class of tasks."""
