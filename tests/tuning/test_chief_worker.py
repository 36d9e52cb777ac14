import socket

import pytest

from kaggle_digits.errors import UserError
from kaggle_digits.tuning import chief_worker
from kaggle_digits.tuning.chief_worker import ADDRESS, PORT, TUNER_ID, Cluster

WHOLE = {ADDRESS: "127.0.0.1", PORT: "8000", TUNER_ID: "tuner0"}


# The environment


@pytest.mark.parametrize("variables", [{}, {PORT: "8000", TUNER_ID: "tuner0"}, {"PATH": "/bin"}])
def test_without_an_address_one_process_does_all(variables):
    assert chief_worker.from_environment(variables) is None


def test_variables_are_keras_tuners():
    # Its documentation has them: https://keras.io/guides/keras_tuner/distributed_tuning
    names = {"KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID"}
    assert set(WHOLE) == names


def test_environment_of_this_process_is_read(monkeypatch):
    for name in WHOLE:
        monkeypatch.delenv(name, raising=False)
    assert chief_worker.from_environment() is None
    for name, value in WHOLE.items():
        monkeypatch.setenv(name, value)
    assert chief_worker.from_environment() == Cluster("tuner0", "127.0.0.1", 8000)


@pytest.mark.parametrize(
    ("tuner", "is_chief"),
    [("chief", True), ("the-chief-1", True), ("tuner0", False), ("Chief", False)],
)
def test_chief_or_worker(tuner, is_chief):
    found = chief_worker.from_environment(WHOLE | {TUNER_ID: tuner})
    assert (found.tuner, found.is_chief) == (tuner, is_chief)
    assert found.address == "127.0.0.1:8000"


@pytest.mark.parametrize("name", [PORT, TUNER_ID])
@pytest.mark.parametrize("is_there", [True, False])
def test_missing_variable_is_named(name, is_there):
    variables = {other: value for other, value in WHOLE.items() if other != name}
    if is_there:
        variables[name] = ""
    with pytest.raises(UserError, match=f"^{name}: expected a value"):
        chief_worker.from_environment(variables)


def test_address_of_nothing_is_named():
    with pytest.raises(UserError, match=f"^{ADDRESS}: expected a value"):
        chief_worker.from_environment(WHOLE | {ADDRESS: ""})


@pytest.mark.parametrize("port", ["0", "65536", "-1", "80.5", "http", " 80", "²"])
def test_invalid_port(port):
    with pytest.raises(UserError) as caught:
        chief_worker.from_environment(WHOLE | {PORT: port})
    assert str(caught.value) == f"{PORT}: expected a port, 1 to 65535, found {port!r}"


@pytest.mark.parametrize(("text", "port"), [("1", 1), ("65535", 65535)])
def test_smallest_and_largest_port(text, port):
    assert chief_worker.from_environment(WHOLE | {PORT: text}).port == port


# The port


@pytest.fixture
def listener():
    """Somebody who listens on a port of this machine."""
    with socket.socket() as somebody:
        somebody.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        yield somebody


def test_port_that_is_taken(listener):
    port = listener.getsockname()[1]
    chief = Cluster("chief", "127.0.0.1", port)
    with pytest.raises(UserError) as caught:
        chief.check_port_is_free()
    message = str(caught.value)
    assert message.startswith(f"{ADDRESS}, {PORT}: expected an address of this machine with a free")
    assert f"found 127.0.0.1:{port} (Address already in use)" in message
    listener.close()
    for _ in range(2):  # and it stays free
        chief.check_port_is_free()


def test_port_with_a_connection_that_lingers_is_free(listener):
    # What a killed chief leaves behind: its side of a connection waits for a minute.
    address = listener.getsockname()
    worker = socket.create_connection(address)
    accepted, _ = listener.accept()
    listener.close()
    accepted.close()  # the side that closes first is the one that waits
    worker.close()
    Cluster("chief", *address).check_port_is_free()


def test_address_of_another_machine():
    # 192.0.2.0/24 is for documentation: RFC 5737.
    with pytest.raises(UserError, match=r"expected an address of this machine .*192\.0\.2\.1:8000"):
        Cluster("chief", "192.0.2.1", 8000).check_port_is_free()


def test_name_of_no_machine():
    with pytest.raises(UserError, match=r"found no-such-machine\.invalid:8000 \("):
        Cluster("chief", "no-such-machine.invalid", 8000).check_port_is_free()
