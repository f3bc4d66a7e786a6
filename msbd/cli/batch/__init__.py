"""Many edits: rows of a manifest, handed to workers of one kind or another."""
