"""Does this installation edit pictures as it should? For those who have the real weights."""
