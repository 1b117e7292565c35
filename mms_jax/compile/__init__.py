"""Compiles the training step of a config for machines that are not here, and says whether it fits and how fast it is."""
