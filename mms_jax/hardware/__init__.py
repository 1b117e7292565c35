"""Figures of accelerators, and the operations that a program asks of them."""
