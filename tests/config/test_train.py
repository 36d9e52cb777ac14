import pytest

from kaggle_digits.config.train import Train


@pytest.mark.parametrize(
    ("epochs", "given", "warmup"),
    [(7, 1.0, 1.0), (3, 2.9, 2.9), (3, 3.0, 0.6), (1, 1.0, 0.2), (1, 0.9, 0.9), (5, 0.0, 0.0)],
)
def test_warmup_is_a_fifth_where_it_would_fill_all_epochs(epochs, given, warmup):
    train = Train(epochs=epochs, warmup_epochs=given)
    assert train.warmup == pytest.approx(warmup, rel=1e-15)
    assert train.warmup_epochs == given
    # Fits are identified by the one in effect.
    assert train.canonical() == Train(epochs=epochs, warmup_epochs=train.warmup)
    assert (train.canonical() == train) == (warmup == given)
    assert train.canonical().canonical() == train.canonical()


def test_momentum_is_sgds_alone():
    sgd = Train(optimizer="sgd", momentum=0.5)
    assert sgd.canonical() == sgd
    assert Train(momentum=0.5, epochs=9).canonical() == Train(epochs=9)
