"""The built-in world: a seed becomes a small world of facts, papers and questions."""
