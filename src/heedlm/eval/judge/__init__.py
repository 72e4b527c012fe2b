"""Replies judged by a model: kept apart from everything that was verified."""
