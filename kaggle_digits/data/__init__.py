"""CSV -> arrays -> folds, and the submission file; every check of what comes in and goes out."""
