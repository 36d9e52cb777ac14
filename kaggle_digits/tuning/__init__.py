"""`kaggle-digits tune`: KerasTuner's trials evaluated fold by fold, and the check of the best."""
