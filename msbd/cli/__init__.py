"""The command line: knows everything below it, and nothing of the product knows it."""
