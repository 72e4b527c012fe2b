"""Words and wire: rows become messages, and messages become the exact text that a model sees."""
