"""KerasTuner's environment variables -> whether this process is a search's chief or a worker."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from kaggle_digits.errors import UserError

TUNER_ID, ADDRESS, PORT = "KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"


@dataclass(frozen=True)
class Cluster:
    """A search's chief and workers, and which of them this process is.

    Attributes:
        tuner: this process's id; one with "chief" in it makes it the chief, as in KerasTuner.
        host: address that the chief listens at.
        port: port that the chief listens at.
    """

    tuner: str
    host: str
    port: int

    @property
    def is_chief(self) -> bool:
        """Whether this process gives out trials, and trains none."""
        return "chief" in self.tuner

    @property
    def address(self) -> str:
        """Where the chief listens, as host:port."""
        return f"{self.host}:{self.port}"

    def check_port_is_free(self) -> None:
        """Check that nobody listens at the port: two chiefs would share the workers between them.

        Raises:
            UserError: somebody does, or the address is not one of this machine.
        """
        try:
            with socket.socket() as attempt:
                # Connections of a killed chief linger for a minute, but do not listen.
                attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                attempt.bind((self.host, self.port))
        except OSError as error:
            raise UserError(
                f"{ADDRESS}, {PORT}: expected an address of this machine with a free port, found "
                f"{self.address} ({error.strerror or error}); choose another port for all"
            ) from None


def from_environment(variables: Mapping[str, str] = os.environ) -> Cluster | None:
    """Read the cluster from the environment.

    Args:
        variables: the environment.

    Returns:
        The cluster, or None where one process does the whole search.

    Raises:
        UserError: a variable is missing or invalid; names it.
    """
    if ADDRESS not in variables:
        return None
    for name in (ADDRESS, PORT, TUNER_ID):
        if not variables.get(name):
            raise UserError(
                f"{name}: expected a value, found none; chief and workers need {ADDRESS}, {PORT} "
                f"and {TUNER_ID}"
            )
    port = variables[PORT]
    if not (port.isdecimal() and 0 < int(port) < 65536):
        raise UserError(f"{PORT}: expected a port, 1 to 65535, found {port!r}")
    return Cluster(variables[TUNER_ID], variables[ADDRESS], int(port))
