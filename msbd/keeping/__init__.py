"""An edit's work on the disk: kept while it runs, gone on with, done again from a stage on."""
