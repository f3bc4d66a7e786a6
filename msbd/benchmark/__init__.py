"""What an edit costs: ours beside the published way, in one run."""
