"""Segments become token ids with one weight each, proved, shown and packed."""
