"""How tests of properties search for a counterexample: the same examples in every run, none kept in a file."""

from hypothesis import settings

EXAMPLES = settings(max_examples=40, deadline=None, derandomize=True, database=None)
FILES = settings(EXAMPLES, max_examples=10)  # each writes a folder
