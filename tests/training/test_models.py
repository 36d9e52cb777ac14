import subprocess
import sys

import keras
import numpy as np
import pytest

from kaggle_digits.config.schema import Model, Stage
from kaggle_digits.training import backend, models

SMALL = Model(
    stages=(
        Stage(width=4, depth=2, pool="first"),
        Stage(width=6, kernel=5, pool="last", padding="valid", stride=2),
    ),
    dense=(8,),
    dropout=0.25,
)
# One 1x1 convolution of one channel: its output is the pixel / 255 times its only weight.
POINT = Model(stages=(Stage(width=1, kernel=1),), dropout=0.0)


@pytest.fixture(autouse=True, scope="module")
def _repeatable():
    backend.configure(2)


def make_pixels(count, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (count, 28, 28), np.uint8)


def output(model, name, pixels, training=False):
    """The output of a layer, as numpy."""
    part = keras.Model(model.input, model.get_layer(name).output)
    return keras.ops.convert_to_numpy(part(pixels, training=training))


def same(one, other):
    return [np.array_equal(a, b) for a, b in zip(one, other, strict=True)]


def test_layers_in_order():
    # Pooling comes before normalising.
    assert [layer.name for layer in models.build(SMALL, seed=1).layers] == [
        "pixels",
        "rescale",
        "channel",
        "stage1_1_conv",
        "stage1_1_pool",
        "stage1_1_norm",
        "stage1_1_relu",
        "stage1_2_conv",
        "stage1_2_norm",
        "stage1_2_relu",
        "stage2_1_conv",
        "stage2_1_pool",
        "stage2_1_norm",
        "stage2_1_relu",
        "head",
        "dense1_dropout",
        "dense1",
        "dense1_norm",
        "dense1_relu",
        "logits_dropout",
        "logits",
    ]


def test_shapes_and_parameters_by_hand():
    model = models.build(SMALL, seed=1)
    shapes = {layer.name: layer.output.shape[1:] for layer in model.layers}
    assert shapes["stage1_1_conv"] == (28, 28, 4)
    assert shapes["stage1_2_conv"] == (14, 14, 4)  # pooled after the first convolution
    assert shapes["stage2_1_conv"] == (5, 5, 6)  # (14 - 5) // 2 + 1
    assert shapes["head"] == (24,)  # 2 x 2 x 6
    assert shapes["dense1"] == (8,)
    assert model.output.shape == (None, 10)
    assert (model.input.dtype, model.output.dtype) == ("uint8", "float32")
    counts = {layer.name: layer.count_params() for layer in model.layers if layer.count_params()}
    assert counts == {
        "stage1_1_conv": 3 * 3 * 1 * 4,
        "stage1_1_norm": 4 * 4,
        "stage1_2_conv": 3 * 3 * 4 * 4,
        "stage1_2_norm": 4 * 4,
        "stage2_1_conv": 5 * 5 * 4 * 6,
        "stage2_1_norm": 4 * 6,
        "dense1": 24 * 8,
        "dense1_norm": 4 * 8,
        "logits": 8 * 10 + 10,
    }
    assert model.count_params() == 1150
    # Half of each batch norm, 2 x (4 + 4 + 6 + 8), is moving statistics.
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 1150 - 44


def test_cost_by_hand():
    # Each place of a convolution's map costs a multiplication and an addition for each weight.
    flops = [
        28 * 28 * (3 * 3 * 1 * 4),
        14 * 14 * (3 * 3 * 4 * 4),
        5 * 5 * (5 * 5 * 4 * 6),
        24 * 8,
        8 * 10,
    ]
    for fused in (False, True):
        assert models.cost(models.build(SMALL, seed=1, fused=fused)) == (1150, 2 * sum(flops))
    # POINT: a weight of the convolution, four of its batch norm, 784 x 10 and 10 of the head.
    cost = models.cost(models.build(POINT, seed=1))
    assert cost == (1 + 4 + 7850, 2 * (28 * 28 + 7840))


def test_summary_by_hand():
    net = models.summary(models.build(POINT, seed=1))
    assert (net.parameters, net.flops) == models.cost(models.build(POINT, seed=1))
    assert [(each.name, each.kind, each.output, each.parameters) for each in net.layers] == [
        ("pixels", "InputLayer", (28, 28), 0),
        ("rescale", "Rescaling", (28, 28), 0),
        ("channel", "Reshape", (28, 28, 1), 0),
        ("stage1_1_conv", "Conv2D", (28, 28, 1), 1),
        ("stage1_1_norm", "BatchNormalization", (28, 28, 1), 4),
        ("stage1_1_relu", "ReLU", (28, 28, 1), 0),
        ("head", "Flatten", (784,), 0),
        ("logits_dropout", "Dropout", (784,), 0),
        ("logits", "Dense", (10,), 7850),
    ]


@pytest.mark.parametrize(
    ("stage", "side"),
    [
        ({"depth": 2}, 28),
        ({"depth": 2, "pool": "first"}, 14),
        ({"depth": 2, "pool": "last"}, 14),
        ({"depth": 2, "padding": "valid"}, 24),
        ({"depth": 2, "padding": "valid", "pool": "first"}, 11),  # 26, 13, 11
        ({"depth": 2, "padding": "valid", "pool": "last"}, 12),  # 26, 24, 12
        ({"depth": 2, "stride": 2}, 14),  # the first convolution alone
        ({"depth": 2, "stride": 2, "kernel": 5, "padding": "valid"}, 8),  # 12, 8
        ({"depth": 1, "kernel": 28, "padding": "valid"}, 1),
    ],
)
def test_side_of_the_last_map(stage, side):
    model = models.build(Model(stages=(Stage(width=2, **stage),)), seed=1)
    assert model.get_layer("head").input.shape == (None, side, side, 2)
    assert model.get_layer("head").output.shape == (None, side * side * 2)


@pytest.mark.parametrize(
    ("pooling", "reduce"),
    [
        ("flatten", lambda maps: maps.reshape(3, -1)),
        ("average", lambda maps: maps.mean(axis=(1, 2))),
        ("max", lambda maps: maps.max(axis=(1, 2))),
    ],
)
def test_pooling(pooling, reduce):
    config = Model(stages=(Stage(width=3, kernel=5, stride=2),), pooling=pooling)
    model, pixels = models.build(config, seed=1), make_pixels(3)
    expected = reduce(output(model, "stage1_1_relu", pixels))
    np.testing.assert_allclose(output(model, "head", pixels), expected, rtol=1e-5)


def names(**changes):
    """The layers of a small net between its pixels and its logits, in order."""
    settings = {"stages": (Stage(width=2, pool="last"),), "dense": (5, 4)} | changes
    return [layer.name for layer in models.build(Model(**settings), seed=1).layers][3:]


CONVOLUTION = [f"stage1_1_{part}" for part in ("conv", "pool", "norm", "relu")]


@pytest.mark.parametrize(
    ("norm", "place", "order"),
    [
        ("before", "early", "conv pool norm relu"),
        ("before", "late", "conv norm relu pool"),
        ("after", "early", "conv pool relu norm"),
        ("after", "late", "conv relu norm pool"),
        ("none", "early", "conv pool relu"),
        ("none", "late", "conv relu pool"),
    ],
)
def test_order_of_what_follows_a_convolution_or_a_hidden_layer(norm, place, order):
    found = names(norm=norm, pool_place=place)
    after = {"before": ["_norm", "_relu"], "after": ["_relu", "_norm"], "none": ["_relu"]}[norm]
    assert found == [
        *(f"stage1_1_{part}" for part in order.split()),
        "head",
        "dense1_dropout",
        *(f"dense1{part}" for part in ["", *after]),
        "dense2_dropout",
        *(f"dense2{part}" for part in ["", *after]),
        "logits_dropout",
        "logits",
    ]


def test_dropout_after_hidden_layers():
    assert names(dropout_place="after")[5:] == [
        *("dense1", "dense1_norm", "dense1_relu", "dense1_dropout"),
        *("dense2", "dense2_norm", "dense2_relu", "dense2_dropout"),
        "logits",
    ]
    assert names(dropout_place="after", dense=()) == [*CONVOLUTION, "head", "logits"]


def test_dropout_after_a_stage():
    stages = (Stage(width=2, depth=2, dropout=0.25), Stage(width=3, stride=2))
    model = models.build(Model(stages=stages), seed=1)
    order = [layer.name for layer in model.layers]
    assert order.index("stage1_dropout") == order.index("stage1_2_relu") + 1
    assert model.get_layer("stage1_dropout").rate == 0.25
    assert "stage2_dropout" not in order


RESIDUAL = Model(
    stages=(Stage(width=4, depth=3, pool="first", residual=True), Stage(width=6, squeeze=2)),
    pooling="average",
    dropout=0.0,
)


@pytest.mark.parametrize(
    ("norm", "place", "first", "last"),
    [
        ("before", "early", "conv norm relu", "conv norm sum pool relu"),
        ("before", "late", "conv norm relu", "conv norm sum relu pool"),
        ("after", "early", "conv relu norm", "conv sum pool relu norm"),
        ("after", "late", "conv relu norm", "conv sum relu norm pool"),
        ("none", "early", "conv relu", "conv sum pool relu"),
        ("none", "late", "conv relu", "conv sum relu pool"),
    ],
)
def test_order_of_a_residual_stage(norm, place, first, last):
    stages = (Stage(width=2, depth=2, pool="last", residual=True),)
    found = names(stages=stages, norm=norm, pool_place=place, dense=())
    named = [f"stage1_1_{part}" for part in first.split()]
    named += ["stage1_sum" if part == "sum" else f"stage1_2_{part}" for part in last.split()]
    assert found == [*named, "head", "logits_dropout", "logits"]


def test_a_residual_stage_by_hand():
    model, pixels = models.build(RESIDUAL, seed=1), make_pixels(3)
    bypass, branch, found = (
        output(model, name, pixels) for name in ("stage1_1_relu", "stage1_3_norm", "stage1_sum")
    )
    assert found.shape == (3, 14, 14, 4)  # pooled after the first convolution
    assert branch.min() < 0  # no ReLU before the sum
    np.testing.assert_allclose(found, bypass + branch, rtol=1e-6)
    np.testing.assert_array_equal(output(model, "stage1_3_relu", pixels), np.maximum(found, 0))
    # A sum has no weights, and of a single convolution there is none.
    plain = models.build(with_stages(RESIDUAL, residual=False), seed=1)
    assert all(same(model.get_weights(), plain.get_weights()))
    assert models.cost(model) == models.cost(plain)
    assert "stage1_sum" not in names(stages=(Stage(width=2, residual=True),))


def with_stages(net, **changes):
    stages = tuple(stage.model_copy(update=changes) for stage in net.stages)
    return net.model_copy(update={"stages": stages})


def test_squeeze_and_excitation_by_hand():
    model, pixels = models.build(RESIDUAL, seed=1), make_pixels(3)
    maps = output(model, "stage2_1_relu", pixels)
    reduce, excite = (
        model.get_layer(f"stage2_{part}").get_weights()[0] for part in ("reduce", "excite")
    )
    assert (reduce.shape, excite.shape) == ((6, 3), (3, 6))
    hidden = np.maximum(maps.mean(axis=(1, 2)) @ reduce, 0)
    weights = 1 / (1 + np.exp(-hidden @ excite))
    assert weights.std() > 0
    found = output(model, "stage2_scale", pixels)
    np.testing.assert_allclose(found, maps * weights[:, None, None], rtol=1e-5)
    # There are no biases.
    without = models.cost(models.build(with_stages(RESIDUAL, squeeze=0), seed=1))
    assert np.subtract(models.cost(model), without).tolist() == [18 + 18, 2 * (18 + 18)]
    # A ratio above the width leaves one unit.
    narrow = models.build(Model(stages=(Stage(width=3, squeeze=16),)), seed=1)
    assert narrow.get_layer("stage1_reduce").output.shape == (None, 1, 1, 1)


def test_parameters_and_cost_of_residual_squeezed_stages_by_hand():
    both = Stage(width=4, depth=2, pool="last", residual=True, squeeze=2)
    model = models.build(Model(stages=(both,), pooling="average"), seed=1)
    convolutions = (3 * 3 * 1 * 4, 3 * 3 * 4 * 4)
    dense = 4 * 2 + 2 * 4 + 4 * 10
    assert models.cost(model) == (
        sum(convolutions) + 2 * 4 * 4 + dense + 10,
        2 * (28 * 28 * sum(convolutions) + dense),
    )
    # In a residual block the branch is weighed before the sum.
    order = [layer.name for layer in model.layers if layer.name.startswith("stage1")]
    assert order[3:] == [
        *("stage1_2_conv", "stage1_2_norm", "stage1_squeeze", "stage1_reduce", "stage1_excite"),
        *("stage1_scale", "stage1_sum", "stage1_2_pool", "stage1_2_relu"),
    ]


@pytest.mark.parametrize("fused", [False, True])
def test_batch_norm_on_the_logits(fused):
    model = models.build(POINT.model_copy(update={"logits_norm": True}), seed=1, fused=fused)
    assert [layer.name for layer in model.layers][-2:] == ["logits", "logits_norm"]
    assert model.get_layer("logits").count_params() == 784 * 10
    assert model.output.dtype == "float32"
    pixels = make_pixels(6)
    logits, normed = (output(model, name, pixels, True) for name in ("logits", "logits_norm"))
    expected = (logits - logits.mean(axis=0)) / np.sqrt(logits.var(axis=0) + 1e-5)
    np.testing.assert_allclose(normed, expected, atol=1e-4)


def test_biases():
    model = models.build(SMALL.model_copy(update={"bias": True}), seed=1)
    assert model.count_params() == 1150 + 4 + 4 + 6 + 8
    assert {layer.use_bias for layer in model.layers if hasattr(layer, "kernel")} == {True}


@pytest.mark.parametrize(
    ("name", "fans"),
    # What the limit's square is 6 divided by: inputs, or inputs and outputs of the layer.
    [("he_uniform", (9, 50)), ("glorot_uniform", (9 + 9 * 50, 50 + 40))],
)
def test_initializers(name, fans):
    config = Model(stages=(Stage(width=50),), pooling="average", dense=(40,), initializer=name)
    model = models.build(config, seed=1)
    for layer, fan in zip(("stage1_1_conv", "dense1"), fans, strict=True):
        largest, limit = np.abs(model.get_layer(layer).get_weights()[0]).max(), (6 / fan) ** 0.5
        assert 0.95 * limit < largest <= limit
    # The last layer's are the same with all of them.
    usual = models.build(config.model_copy(update={"initializer": "he_normal"}), seed=1)
    assert all(
        same(model.get_layer("logits").get_weights(), usual.get_layer("logits").get_weights())
    )


def test_settings_of_batch_norm():
    config = SMALL.model_copy(update={"norm_momentum": 0.99, "norm_epsilon": 1e-3})
    norms = [
        layer
        for fused in (False, True)
        for layer in models.build(config, seed=1, fused=fused).layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert {(layer.momentum, layer.epsilon) for layer in norms} == {(0.99, 1e-3)}
    assert len(norms) == 8


def test_l2_of_convolutions_is_part_of_the_loss():
    model = models.build(SMALL.model_copy(update={"l2": 0.01}), seed=1)
    model(make_pixels(2))
    kernels = [model.get_layer(f"stage{n}_conv").get_weights()[0] for n in ("1_1", "1_2", "2_1")]
    expected = 0.01 * sum((kernel**2).sum() for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)
    assert not models.build(SMALL, seed=1).losses


def test_symmetric_pixels():
    pixels = np.zeros((1, 28, 28), np.uint8)
    pixels[0, 3, 4], pixels[0, 5, 6] = 255, 51
    model = models.build(POINT.model_copy(update={"input": "symmetric"}), seed=1)
    scaled = output(model, "channel", pixels)
    found = [scaled[0, x, y, 0] for x, y in ((0, 0), (3, 4), (5, 6))]
    assert found == pytest.approx([-1.0, 1.0, -0.6], abs=1e-6)  # (51 / 255 - 0.5) * 2


def test_hidden_layers_and_dropout():
    model = models.build(SMALL.model_copy(update={"dense": (8, 5)}), seed=1)
    assert model.get_layer("dense1").output.shape == (None, 8)
    assert model.get_layer("dense2").output.shape == (None, 5)
    assert model.get_layer("logits").count_params() == 5 * 10 + 10
    rates = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert rates == [0.25, 0.25, 0.25]


def test_pixels_are_scaled_to_one():
    model = models.build(POINT, seed=1)
    pixels = np.zeros((1, 28, 28), np.uint8)
    pixels[0, 3, 4], pixels[0, 5, 6] = 255, 51
    scaled = output(model, "channel", pixels)
    assert scaled.shape == (1, 28, 28, 1)
    assert (scaled[0, 3, 4, 0], scaled[0, 0, 0, 0]) == (1.0, 0.0)
    assert scaled[0, 5, 6, 0] == pytest.approx(0.2)


def test_seed_decides_the_weights():
    first, again, other = (models.build(SMALL, seed).get_weights() for seed in (7, 7, 8))
    assert all(same(first, again))
    kernels = [index for index, array in enumerate(first) if array.ndim > 1]
    assert len(kernels) == 5
    assert not any(np.array_equal(first[index], other[index]) for index in kernels)


def test_layers_further_down_do_not_change_those_above():
    longer = SMALL.model_copy(update={"stages": (*SMALL.stages, Stage(width=2, kernel=1))})
    short, long = models.build(SMALL, seed=7), models.build(longer, seed=7)
    for name in ("stage1_1_conv", "stage1_2_conv", "stage2_1_conv"):
        assert all(same(short.get_layer(name).get_weights(), long.get_layer(name).get_weights()))


@pytest.mark.parametrize("fused", [False, True])
def test_batch_norm_in_training_by_hand(fused):
    model, pixels = models.build(POINT, seed=1, fused=fused), make_pixels(4)
    weight = model.get_layer("stage1_1_conv").get_weights()[0].item()
    convolved = pixels[..., None] / 255 * weight
    mean, variance = convolved.mean(), convolved.var()
    found = output(model, "stage1_1_norm", pixels, training=True)
    expected = (convolved - mean) / np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    _, _, moving_mean, moving_variance = model.get_layer("stage1_1_norm").get_weights()
    assert moving_mean.item() == pytest.approx(0.9 * 0 + 0.1 * mean, rel=1e-4)
    assert moving_variance.item() == pytest.approx(0.9 * 1 + 0.1 * variance, rel=1e-4)


PEERLIKE = SMALL.model_copy(
    update={"norm": "after", "pool_place": "late", "bias": True, "l2": 1e-3, "logits_norm": True}
)


def make_pair(net=SMALL):
    """A stock net with statistics of its own, and a fused one with the stock one's weights."""
    config = net.model_copy(update={"dropout": 0.0})
    stock, fused = models.build(config, seed=7), models.build(config, seed=8, fused=True)
    generator = np.random.default_rng(2)
    stock.set_weights([w + generator.uniform(0.1, 0.3, w.shape) for w in stock.get_weights()])
    fused.set_weights(stock.get_weights())
    return stock, fused


def test_fused_and_stock_nets_take_each_others_weights():
    stock, fused = make_pair()
    assert all(same(stock.get_weights(), fused.get_weights()))
    paths = [[v.path for v in model.variables if "seed" not in v.path] for model in (stock, fused)]
    assert paths[0] == paths[1]
    back = models.build(SMALL, seed=9)
    back.set_weights(fused.get_weights())
    assert all(same(stock.get_weights(), back.get_weights()))
    assert any(isinstance(layer, models.FusedBatchNormalization) for layer in fused.layers)
    assert not any(isinstance(layer, models.FusedBatchNormalization) for layer in stock.layers)


def test_fused_and_stock_nets_agree():
    stock, fused = make_pair()
    for training in (False, True, True, False):  # the last one with moved statistics
        pixels = make_pixels(6)
        one, other = (
            keras.ops.convert_to_numpy(model(pixels, training=training)) for model in (stock, fused)
        )
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
        for a, b in zip(stock.get_weights(), fused.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_frozen_fused_net_keeps_its_statistics():
    _, fused = make_pair()
    fused.trainable = False
    before, pixels = fused.get_weights(), make_pixels(4)
    outputs = [keras.ops.convert_to_numpy(fused(pixels, training=t)) for t in (False, True)]
    np.testing.assert_allclose(*outputs, rtol=1e-5)
    assert all(same(before, fused.get_weights()))


# Precision

LOW = ["bfloat16", "float16"]


@pytest.mark.parametrize("precision", LOW)
def test_only_the_maps_are_of_low_precision(precision):
    net = SMALL.model_copy(update={"logits_norm": True, "pooling": "average"})
    model = models.build(net, seed=1, fused=True, precision=precision)
    in_float32 = {"rescale", "channel", "head", "dense1_dropout", "logits_dropout"}
    in_float32 |= {"logits", "logits_norm"}
    for layer in model.layers[1:]:
        expected = "float32" if layer.name in in_float32 else precision
        assert (layer.name, layer.compute_dtype) == (layer.name, expected)
        assert layer.output.dtype == expected
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert model.output.dtype == "float32"
    # The same start, whatever it is computed in.
    assert all(same(model.get_weights(), models.build(net, seed=1).get_weights()))


@pytest.mark.parametrize(("pooling", "dtype"), [("flatten", "bfloat16"), ("max", "bfloat16")])
def test_what_rounds_nothing_stays_low(pooling, dtype):
    net = SMALL.model_copy(update={"pooling": pooling})
    model = models.build(net, seed=1, precision="bfloat16")
    assert model.get_layer("head").output.dtype == dtype


def test_a_convolution_in_bfloat16_by_hand():
    model = models.build(POINT, seed=1, precision="bfloat16")
    weight = np.float32(0.75)  # exact in eight bits
    model.get_layer("stage1_1_conv").set_weights([np.full((1, 1, 1, 1), weight)])
    pixels = np.arange(256, dtype=np.uint8).repeat(4)[:784].reshape(1, 28, 28)
    x = output(model, "rescale", pixels)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, (pixels * np.float32(1 / 255)))
    found = keras.ops.cast(output(model, "stage1_1_conv", pixels), "float32")
    # Rounded once on its way in and once on its way out.
    expected = rounded(rounded(x) * weight)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(found)[..., 0], expected)


def rounded(x):
    """Round float32 to the nearest bfloat16, which is its upper half; ties to even."""
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("precision", LOW)
def test_fused_and_stock_nets_of_low_precision_agree(precision):
    stock, fused = (models.build(SMALL, 3, each, precision) for each in (False, True))
    fused.set_weights(stock.get_weights())
    pixels = make_pixels(64)
    one, other = (keras.ops.convert_to_numpy(net(pixels, training=False)) for net in (stock, fused))
    np.testing.assert_array_equal(one, other)  # nothing is fused at prediction
    for net in (stock, fused):
        backend.configure(2)
        for layer in net.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
        net(pixels, training=True)
    for a, b in zip(stock.get_weights(), fused.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0.02, atol=2e-3)


def test_nets_are_float32_by_default():
    for fused in (False, True):
        model = models.build(SMALL, seed=1, fused=fused)
        assert {layer.dtype_policy.name for layer in model.layers[1:]} == {"float32"}


LOAD = """
import sys
import keras, numpy as np
model = keras.saving.load_model(sys.argv[1])
np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))
assert "kaggle_digits" not in sys.modules
"""


@pytest.mark.parametrize("net", [SMALL, PEERLIKE, with_stages(RESIDUAL, squeeze=2)])
def test_saved_stock_model_needs_nothing_but_keras(tmp_path, net):
    stock, _ = make_pair(net)
    pixels = make_pixels(20)
    stock.save(tmp_path / "model.keras")
    np.save(tmp_path / "pixels.npy", pixels)
    files = [str(tmp_path / name) for name in ("model.keras", "pixels.npy", "logits.npy")]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *files],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = stock.predict(pixels, verbose=0)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, rtol=1e-4, atol=1e-5)
