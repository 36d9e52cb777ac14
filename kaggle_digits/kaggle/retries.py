"""How long the Kaggle client waits for an answer, and what it asks again.

The client itself waits for ever, and asks most things once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from requests.adapters import HTTPAdapter

CONNECT_TIMEOUT, READ_TIMEOUT = 10, 60  # seconds
# What may pass by itself is asked again after 0, 1, 2 and 4 seconds.
ATTEMPTS, BACKOFF_SECONDS = 4, 0.5
SCHEMES = ("https://", "http://")
RETRY_STATUSES = (429, 500, 502, 503, 504)
# Service -> its call that, repeated, might do the same thing twice.
NOT_IDEMPOTENT = {
    "competitions.CompetitionApiService": "CreateSubmission",
    "kernels.KernelsApiService": "SaveKernel",
}


def patient(api_class: type) -> type:
    """Return the client's class, asking again what may pass."""

    class PatientApi(api_class):
        def build_kaggle_client(self):
            client = super().build_kaggle_client()
            http = client.http_client()
            http._init_session()
            for scheme in SCHEMES:
                http._session.mount(scheme, patient_adapter(ATTEMPTS))
            for service, call in NOT_IDEMPOTENT.items():
                http._session.mount(http._get_request_url(service, call), patient_adapter(0))
            return client

    return PatientApi


def patient_adapter(attempts: int) -> HTTPAdapter:
    """Return what a session of `requests` sends with, and sends again so many times."""
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    if not attempts:
        return HTTPAdapter()
    again = Retry(
        attempts,
        backoff_factor=BACKOFF_SECONDS,
        status_forcelist=RETRY_STATUSES,
        allowed_methods=None,
        raise_on_status=False,
        respect_retry_after_header=False,  # that may be hours: it is said instead
    )
    return HTTPAdapter(max_retries=again)


@contextmanager
def limited_waiting() -> Iterator[None]:
    """Have no request wait for ever, in whichever session the client makes it."""
    from requests.adapters import HTTPAdapter

    send = HTTPAdapter.send

    def limited(self, request, stream=False, timeout=None, **others):
        timeout = timeout or (CONNECT_TIMEOUT, READ_TIMEOUT)
        return send(self, request, stream=stream, timeout=timeout, **others)

    HTTPAdapter.send = limited
    try:
        yield
    finally:
        HTTPAdapter.send = send
