"""Baking: the behaviour that an instruction's text brings about, put into the weights."""
