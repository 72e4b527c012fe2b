"""Replies reach people: in the terminal."""
