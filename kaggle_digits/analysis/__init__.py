"""What one does with finished runs: evaluate, classify, compare, blend."""
