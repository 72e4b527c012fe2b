"""Instruction rows made by a model: of seeds, of documents, of prompts, and of the best of several answers."""
