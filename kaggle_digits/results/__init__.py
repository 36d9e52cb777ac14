"""Records of what a run or a search found."""
