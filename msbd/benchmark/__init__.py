"""What an edit costs: ours beside the paper's way, in one run."""
