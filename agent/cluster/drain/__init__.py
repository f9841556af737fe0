"""Emptying nodes: which, how, and what becomes of the jobs on them."""
