"""From Kaggle's Digit Recognizer files to a ready-to-upload submission."""
