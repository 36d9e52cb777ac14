"""`kaggle-digits tune`: KerasTuner's trials judged fold by fold, and the check of the best."""
