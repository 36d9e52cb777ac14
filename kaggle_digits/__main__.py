"""`python -m kaggle_digits` is `kaggle-digits`."""

from kaggle_digits.cli import main

if __name__ == "__main__":
    main()
