"""Scorers: from a reply to a figure between 0 and 1, with the reason in words."""
