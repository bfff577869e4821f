"""Evidence files: their envelope, who signed them, what a checker trusts, and the steps of checking."""
