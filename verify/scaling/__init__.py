"""Corpora larger than memory or than one machine: map, shuffle by bucket, reduce. docs/scaling.md has the picture.

A unit of input becomes distinct pairs in 1,024 buckets (`kernels.pairs`), which takes no key; the rows of a bucket
become its exact sums under a key (`kernels.scores`). Sums of integers add up to the same bytes in any order.
"""
