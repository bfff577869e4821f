"""Whose channel is in a text: one pass over the text for all keys of an epoch."""
