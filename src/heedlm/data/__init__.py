"""Files to splits: read rows, make examples of them, drop duplicates, split without leaks, write what happened."""
