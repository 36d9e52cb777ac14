"""What the competition fixes: how many rows its files have, and what their columns are called.

The source is https://www.kaggle.com/competitions/digit-recognizer/data: train.csv with a label and
784 pixels a row, test.csv without the label, and a submission with one row for each of test.csv.
"""

SLUG = "digit-recognizer"
PAGE = f"https://www.kaggle.com/competitions/{SLUG}"
DATA_PAGE, SUBMIT_PAGE = f"{PAGE}/data", f"{PAGE}/submit"
TRAIN_ROWS = 42_000  # together they are MNIST's 70,000
TEST_ROWS = 28_000
PIXEL_COLUMNS = tuple(f"pixel{index}" for index in range(784))
