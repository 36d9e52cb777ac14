"""What the competition fixes: what its files hold, and what their columns are called.

The source is https://www.kaggle.com/competitions/digit-recognizer/data: train.csv with a label and
784 pixels a row, test.csv without the label, and a submission with one row for each of test.csv.
"""

SLUG = "digit-recognizer"
PAGE = f"https://www.kaggle.com/competitions/{SLUG}"
DATA_PAGE, SUBMIT_PAGE = f"{PAGE}/data", f"{PAGE}/submit"
TRAIN_ROWS = 42_000  # together they are MNIST's 70,000
TEST_ROWS = 28_000
# `storage.files.digest` of each file's images and, where it has them, labels. Unlike a hash of the
# file, it stays the same when another program has saved the rows with other line ends.
CONTENT = {
    "train.csv": "07b15e9703b06abc3ed4cdf2f0abfb41",
    "test.csv": "f691ffb71b87a0ca57fdfb70eba55b09",
}
PIXEL_COLUMNS = tuple(f"pixel{index}" for index in range(784))
# Public scores that could be verified, for comparison.
KNOWN_SCORES = {
    "C. Deotte, 15 CNNs": 0.99757,
    "residual CNNs": 0.9970,
    "10 CNNs; fastai resnet18": 0.99657,
    "CNNs, test-time augmentation": 0.99628,
}
# Scores from here on come from training on the test images' labels: the whole MNIST is public.
TRAINED_ON_TEST = 0.999
