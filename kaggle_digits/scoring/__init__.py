"""Probabilities -> one prediction, its accuracy, a forecast, and tests of differences."""
