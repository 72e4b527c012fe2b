"""Batches become better weights."""
