"""Suites: sets of items that people write, with what they are asked and how they are scored."""
