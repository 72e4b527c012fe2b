"""Prompt templates: columns of a row in, the messages of a conversation out."""
