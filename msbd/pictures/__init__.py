"""What people look at: an edit step by step, and a plan drawn over the picture."""
