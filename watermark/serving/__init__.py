"""What an engine's plugin needs besides the draw: tickets, keys, settings, admission, metrics, self-test."""
