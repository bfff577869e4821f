"""One test per file. Each docstring states the null; every p-value is exact or a bound that says so."""
