"""Thin adapters from serving engines to `watermark.sampling`. They hold no maths, and nothing else imports them."""
