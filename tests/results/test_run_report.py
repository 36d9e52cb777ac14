from kaggle_digits.results import record
from kaggle_digits.results.run_report import NET_FORMAT, FitReport, Layer, NetSummary

NET = NetSummary(
    (Layer("pixels", "InputLayer", (28, 28), 0), Layer("logits", "Dense", (10,), 8)), 8, 16
)


def test_net_survives_its_file(tmp_path):
    dumped = record.to_json(NET, NET_FORMAT)
    assert dumped["layers"][1] == {
        "name": "logits",
        "kind": "Dense",
        "output": [10],
        "parameters": 8,
    }
    assert record.from_json(NetSummary, dumped, NET_FORMAT, tmp_path) == NET


def test_folds_count_from_1_for_people():
    assert FitReport("cnn", 0, {}, 1.0, 1.0, 10).name == "cnn fold 1"
