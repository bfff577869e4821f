"""The reports by which people decide whether to trust Radiolabel. Each benchmark is one short file."""
