"""Radiolabel's outside: from a suspect's outputs and one disclosed key to a number anybody can recompute."""
