"""`kaggle-digits run`: all stages in order, and the folder that a run leaves behind."""
