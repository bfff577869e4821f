"""The report: result files -> one page that opens offline, and a summary in Markdown. No numbers of its own."""
