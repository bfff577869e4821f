"""Inputs and a key -> what was measured: one module for each kind of test, and `planned`, which a plan tells what."""
