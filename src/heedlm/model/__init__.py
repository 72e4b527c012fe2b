"""A checkpoint becomes a module, and a module a checkpoint."""
