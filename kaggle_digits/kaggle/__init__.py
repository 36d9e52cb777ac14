"""Everything between this machine and Kaggle: files, submissions, kernels, the archive."""
