"""Custom instructions: the text that is combined with a person's text, written, compiled and checked like code."""
