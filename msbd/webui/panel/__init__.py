"""What the user sees in the WebUI: controls, the dry run's and the check's buttons."""
