"""Which accounts' answers reached a student: pairs by account, adjusted tests, and groups of accounts."""
