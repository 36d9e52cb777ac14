import keras
import numpy as np
import pytest

from kaggle_digits.config.schema import Model, Stage, Train
from kaggle_digits.training import backend, models
from kaggle_digits.training.optimizers import KernelMuon, make_optimizer, make_schedule

NET = Model(stages=(Stage(width=3, kernel=5, stride=2, pool="last"),), dense=(4,))


@pytest.fixture(autouse=True, scope="module")
def _repeatable():
    backend.configure(2)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize(
    ("warmup_epochs", "rates"),
    [
        # 10 steps up, then 30 down: a third of them is done at step 20.
        (1.0, {0: 0.0, 5: 0.05, 10: 0.1, 20: 0.05 * (1 + np.cos(np.pi / 3)), 25: 0.05, 40: 0.0}),
        (0.5, {0: 0.0, 1: 0.02, 5: 0.1, 40: 0.0}),
        (0.0, {0: 0.1, 20: 0.05, 40: 0.0}),
    ],
)
def test_learning_rate_rises_and_falls(name, warmup_epochs, rates):
    config = Train(optimizer=name, epochs=4, learning_rate=0.1, warmup_epochs=warmup_epochs)
    optimizer = make_optimizer(config, steps_per_epoch=10)
    found = {}
    for step in rates:
        optimizer.iterations.assign(step)
        found[step] = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    assert found == pytest.approx(rates, abs=1e-7)


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon"])
def test_weight_decay_leaves_batch_norm_and_biases_alone(name):
    net = models.build(NET, seed=1)
    net.set_weights([np.full_like(weights, 2.0) for weights in net.get_weights()])
    config = Train(
        optimizer=name,
        learning_rate=0.1,
        weight_decay=0.5,
        warmup_epochs=0,
        ema_epochs=0,
        epochs=1000,
    )
    optimizer = make_optimizer(config, steps_per_epoch=1000)
    optimizer.build(net.trainable_variables)
    nothing = [keras.ops.zeros(variable.shape) for variable in net.trainable_variables]
    optimizer.apply(nothing, net.trainable_variables)
    found = {v.path: keras.ops.convert_to_numpy(v).mean() for v in net.trainable_variables}
    # Decoupled: with no gradient, one step takes learning rate times weight decay of each weight.
    assert found == pytest.approx(
        {path: 2 * (1 - 0.1 * 0.5) if path.endswith("kernel") else 2.0 for path in found}
    )
    assert {path.rpartition("/")[2] for path in found} == {"kernel", "gamma", "beta", "bias"}


def test_no_weight_decay():
    for name in ("adamw", "sgd", "muon"):
        config = Train(optimizer=name, weight_decay=0, learning_rate=0.1, warmup_epochs=0)
        optimizer = make_optimizer(config, steps_per_epoch=10)
        variable = keras.Variable(np.float32([3.0]), name="kernel")
        optimizer.build([variable])
        optimizer.apply([keras.ops.zeros(1)], [variable])
        assert keras.ops.convert_to_numpy(variable).item() == 3.0


def test_sgd_has_nesterov_momentum():
    config = Train(
        optimizer="sgd", momentum=0.8, learning_rate=0.5, warmup_epochs=0, weight_decay=0, epochs=10
    )
    optimizer = make_optimizer(config, steps_per_epoch=10**6)
    variable = keras.Variable(np.float32([1.0]), name="kernel")
    optimizer.build([variable])
    optimizer.apply([keras.ops.convert_to_tensor(np.float32([1.0]))], [variable])
    # The velocity is -0.5; Nesterov steps by 0.8 of it and once more by -0.5.
    assert keras.ops.convert_to_numpy(variable).item() == pytest.approx(1 - 0.4 - 0.5)


@pytest.mark.parametrize(
    ("ema_epochs", "used", "momentum"),
    [(0.5, True, 1 - 1 / 5), (2.0, True, 1 - 1 / 20), (0.1, False, 0.5), (0.0, False, 0.5)],
)
def test_span_of_the_average(ema_epochs, used, momentum):
    optimizer = make_optimizer(Train(ema_epochs=ema_epochs), steps_per_epoch=10)
    assert optimizer.use_ema is used
    assert optimizer.ema_momentum == pytest.approx(momentum)


def weights_and_average(optimizer, gradients):
    """Apply gradients to a weight that is 1; return (its values, their average)."""
    variable = keras.Variable(np.float32([1.0]), name="kernel")
    optimizer.build([variable])
    values = []
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(np.float32([gradient]))], [variable])
        values.append(keras.ops.convert_to_numpy(variable).item())
    optimizer.finalize_variable_values([variable])
    return values, keras.ops.convert_to_numpy(variable).item()


PLAIN_SGD = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.5, "schedule": "constant"}


@pytest.mark.parametrize("limit", [0.999, 0.22])
def test_average_with_a_warm_up_by_hand(limit):
    config = Train(**PLAIN_SGD, weight_decay=0, ema_momentum=limit, ema_warmup=True)
    values, average = weights_and_average(make_optimizer(config, 10), [1.0, -2.0, 0.5, 3.0])
    expected = values[0]  # the average begins with the weights after the first step
    for steps, value in enumerate(values[1:], 1):
        momentum = min(limit, (1 + steps) / (10 + steps))  # 2/11, 3/12, 4/13
        expected = momentum * expected + (1 - momentum) * value
    assert average == pytest.approx(expected, rel=1e-5)


def test_momentum_of_the_average_takes_the_place_of_its_epochs():
    optimizer = make_optimizer(Train(ema_epochs=0.0, ema_momentum=0.9), steps_per_epoch=10)
    assert (optimizer.use_ema, optimizer.ema_momentum) == (True, 0.9)


def test_adam_decays_no_weights():
    config = Train(optimizer="adam", weight_decay=0.5, schedule="constant", learning_rate=0.1)
    values, _ = weights_and_average(make_optimizer(config, 10), [0.0])
    assert values == [1.0]
    # Adam's first step is the learning rate, whatever the gradient.
    values, _ = weights_and_average(make_optimizer(config, 10), [7.0])
    assert values == pytest.approx([0.9], rel=1e-5)


# Rotations by angles of 3-4-5 triangles: whatever is between them keeps its singular values.
LEFT, RIGHT = np.array([[0.6, -0.8], [0.8, 0.6]]), np.array([[0.8, 0.6], [-0.6, 0.8]])


def orthogonalised(value):
    """Five steps of the quintic Newton-Schulz iteration for one singular value."""
    for _ in range(5):
        value = 3.4445 * value - 4.7750 * value**3 + 2.0315 * value**5
    return value


@pytest.mark.parametrize("shape", [(2, 2), (1, 2, 1, 2)])
def test_muon_of_a_small_kernel_by_hand(shape):
    config = Train(
        optimizer="muon", momentum=0.5, learning_rate=0.1, weight_decay=0.2, schedule="constant"
    )
    optimizer = make_optimizer(config, steps_per_epoch=1)
    kernel = keras.Variable(np.ones(shape, np.float32), name="kernel")
    optimizer.build([kernel])
    gradients = [LEFT @ np.diag(values) @ RIGHT for values in ([3.0, 1.0], [-2.0, 2.0])]
    expected, velocity = np.ones((2, 2)), np.zeros(2)
    for gradient, values in zip(gradients, ([3.0, 1.0], [-2.0, 2.0]), strict=True):
        as_kernel = keras.ops.convert_to_tensor(gradient.reshape(shape).astype(np.float32))
        optimizer.apply([as_kernel], [kernel])
        velocity = 0.5 * velocity + values
        looked_ahead = values + 0.5 * velocity
        update = orthogonalised(looked_ahead / np.linalg.norm(looked_ahead))
        assert (abs(abs(update) - 1) < 0.32).all()
        scale = 0.1 * 0.2 * 2**0.5  # learning rate, size of AdamW's updates, larger side
        expected = expected * (1 - 0.1 * 0.2) - scale * LEFT @ np.diag(update) @ RIGHT
        found = keras.ops.convert_to_numpy(kernel).reshape(2, 2)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_muon_sees_a_convolution_as_a_matrix():
    """Each output is a column: a kernel with equal ones has rank 1, whatever its window."""
    config = Train(optimizer="muon", momentum=0.0, learning_rate=1.0, weight_decay=0, ema_epochs=0)
    optimizer = make_optimizer(config.model_copy(update={"schedule": "constant"}), 1)
    kernel = keras.Variable(np.zeros((3, 3, 2, 4), np.float32), name="kernel")
    optimizer.build([kernel])
    gradient = np.random.default_rng(1).normal(size=(3, 3, 2, 4)).astype(np.float32)
    optimizer.apply([keras.ops.convert_to_tensor(gradient)], [kernel])
    update = -keras.ops.convert_to_numpy(kernel).reshape(18, 4) / (0.2 * 18**0.5)
    values = np.linalg.svd(update, compute_uv=False)
    assert (abs(values - 1) < 0.32).all()
    left, _, right = np.linalg.svd(gradient.reshape(18, 4), full_matrices=False)
    # The singular vectors are the gradient's.
    aligned = left.T @ update @ right.T
    np.testing.assert_allclose(aligned, np.diag(np.diag(aligned)), atol=1e-4)


def keras_in_double(matrix):
    """Keras's iterations in float64."""
    x = matrix / (np.linalg.norm(matrix) + 1e-7)
    for _ in range(5):
        gram = x.T @ x
        x = 3.4445 * x + x @ (-4.7750 * gram + 2.0315 * gram @ gram)
    return x


# The widest kernels of the shipped nets, and one with fewer rows than twice its columns.
@pytest.mark.parametrize("shape", [(4, 4, 96, 160), (5, 5, 64, 96), (3, 3, 32, 64), (5, 5, 1, 32)])
# From values that converge to those that five iterations cannot lift to 1.
@pytest.mark.parametrize("smallest", [1.0, 1e-2, 1e-6])
def test_muon_iterates_as_keras_does(shape, smallest):
    rows = int(np.prod(shape[:-1]))
    normal = np.random.default_rng(4).normal(size=(rows, shape[-1]))
    left, _, right = np.linalg.svd(normal, full_matrices=False)
    gradient = np.float32(left * np.geomspace(1e-3, 1e-3 * smallest, left.shape[1]) @ right)
    found = KernelMuon().zeropower_via_newtonschulz5(
        keras.ops.convert_to_tensor(gradient.reshape(shape)), 5
    )
    assert tuple(found.shape) == shape
    difference = keras.ops.convert_to_numpy(found).reshape(rows, -1) - keras_in_double(gradient)
    assert np.linalg.norm(difference) < 1e-3 * np.linalg.norm(keras_in_double(gradient))


def test_muon_takes_keras_own_iterations_where_float32_is_rounded(monkeypatch):
    # A GPU that multiplies in TensorFloat-32: the squares would lose the small singular values.
    def rounded(x):
        bits = keras.ops.convert_to_numpy(x).astype(np.float32).view(np.uint32)
        return keras.ops.convert_to_tensor(((bits + 0x1000) & 0xFFFFE000).view(np.float32))

    matmul = keras.ops.matmul
    monkeypatch.setattr(keras.ops, "matmul", lambda a, b: matmul(rounded(a), rounded(b)))
    gradient = np.random.default_rng(5).normal(size=(64, 8)).astype(np.float32)
    kernel = keras.ops.convert_to_tensor(gradient)

    def error():
        found = KernelMuon().zeropower_via_newtonschulz5(kernel, 5)
        expected = keras_in_double(gradient)
        return np.linalg.norm(keras.ops.convert_to_numpy(found) - expected)

    here = error()
    monkeypatch.setattr(backend, "accelerators", lambda: ["a GPU"])
    assert error() < 1e-4 < here  # Keras's own does not pass through the rounding above


def test_muon_turns_a_gradient_of_zeros_into_zeros():
    nothing = keras.ops.zeros((3, 3, 2, 4))
    found = KernelMuon().zeropower_via_newtonschulz5(nothing, 5)
    assert not keras.ops.convert_to_numpy(found).any()


def test_muon_leaves_vectors_and_the_last_layer_to_adamw():
    net = models.build(NET.model_copy(update={"logits_norm": True}), seed=1)
    settings = {"learning_rate": 0.1, "weight_decay": 0.5, "schedule": "constant", "ema_epochs": 0}
    after = {}
    for name in ("muon", "adamw"):
        for variable in net.trainable_variables:
            variable.assign(np.full(variable.shape, 2.0))
        optimizer = make_optimizer(Train(optimizer=name, **settings), steps_per_epoch=10)
        optimizer.build(net.trainable_variables)
        generator = np.random.default_rng(3)
        for _ in range(2):
            gradients = [generator.normal(size=v.shape) for v in net.trainable_variables]
            tensors = [keras.ops.convert_to_tensor(np.float32(each)) for each in gradients]
            optimizer.apply(tensors, net.trainable_variables)
        after[name] = {v.path: np.array(v) for v in net.trainable_variables}
    alike = {
        path for path, value in after["muon"].items() if np.allclose(value, after["adamw"][path])
    }
    assert after["muon"].keys() - alike == {"stage1_1_conv/kernel", "dense1/kernel"}


@pytest.mark.parametrize("schedule", ["constant", "exponential", "plateau"])
def test_a_rate_that_changes_between_epochs_can_be_set(schedule):
    optimizer = make_optimizer(Train(schedule=schedule, learning_rate=0.25), steps_per_epoch=10)
    assert float(keras.ops.convert_to_numpy(optimizer.learning_rate)) == 0.25
    optimizer.learning_rate = 0.125
    assert float(keras.ops.convert_to_numpy(optimizer.learning_rate)) == 0.125


def test_schedule_ends_at_zero_and_stays_there():
    schedule = make_schedule(Train(epochs=2, learning_rate=0.4, warmup_epochs=1.0), 3)
    rates = [float(keras.ops.convert_to_numpy(schedule(step))) for step in range(8)]
    # Three steps up, three down: 0.2 * (1 + cos(pi / 3)) is 0.3.
    assert rates == pytest.approx([0, 0.4 / 3, 0.8 / 3, 0.4, 0.3, 0.1, 0, 0], abs=1e-7)


def test_warmup_that_would_fill_all_epochs_is_capped():
    # A fifth of ten steps rises, eight fall.
    schedule = make_schedule(Train(epochs=1, learning_rate=0.4, warmup_epochs=1.0), 10)
    rates = [float(keras.ops.convert_to_numpy(schedule(step))) for step in (0, 1, 2, 6, 10)]
    assert rates == pytest.approx([0, 0.2, 0.4, 0.2, 0], abs=1e-7)


def test_schedule_of_a_single_step():
    schedule = make_schedule(Train(epochs=1, learning_rate=0.4, warmup_epochs=0.0), 1)
    assert float(keras.ops.convert_to_numpy(schedule(0))) == pytest.approx(0.4)


# Scaling of the loss


def test_float16_scales_the_loss_and_applies_gradients_as_they_are():
    config = Train(**PLAIN_SGD, weight_decay=0, ema_epochs=0, precision="float16")
    optimizer = make_optimizer(config, 10)
    variable = keras.Variable(np.float32([1.0]), name="kernel")
    optimizer.build([variable])

    def step(gradient):
        optimizer.apply([keras.ops.convert_to_tensor(np.float32([gradient]))], [variable])
        return keras.ops.convert_to_numpy(variable).item()

    scale = float(optimizer.scale_loss(1.0))
    assert scale == 2.0**15
    assert step(0.25 * scale) == 1 - 0.5 * 0.25
    assert step(np.inf) == 1 - 0.5 * 0.25  # the step is left out,
    assert float(optimizer.scale_loss(1.0)) == scale / 2  # and the next one has more room
    assert step(0.25 * scale / 2) == 1 - 2 * 0.5 * 0.25
    assert keras.ops.convert_to_numpy(optimizer.iterations) == 2


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_others_scale_no_loss(precision):
    optimizer = make_optimizer(Train(precision=precision), 10)
    assert not isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
