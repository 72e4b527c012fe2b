"""Evaluation: replies become numbers, and numbers become a report people can read."""
