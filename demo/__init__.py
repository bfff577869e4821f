"""The main job on a real model: `python -m demo`."""
