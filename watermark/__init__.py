"""Radiolabel's provider side: keys, PRF, windows, channels, schemes and the sampler.

This package holds secrets. It never imports `verify`.
"""

__version__ = "0.1.0"
