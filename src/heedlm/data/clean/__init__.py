"""Cleaning: what is wrong with rows that can be read, one rule at a time, each with a name, a reason and a switch."""
