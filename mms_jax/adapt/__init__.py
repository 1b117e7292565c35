"""Adds a language to a recognizer: from a table of recordings to an adapter, a head, and their error rates."""
