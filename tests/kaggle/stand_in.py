"""A stand-in for Kaggle on loopback: the calls that the client makes, with state and failures.

The unmodified client reaches it as `http://localhost/api/v1/...` through `HTTP_PROXY`, see
`StandIn.variables`. What it receives it checks as Kaggle does; what goes wrong is planned with
`StandIn.plan`.
"""

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

TOKEN, KEY, USERNAME = "KGAT_planted-token-4711", "planted-key-0815", "ada"
COMPETITION = "digit-recognizer"
LAST_MODIFIED = "Mon, 15 Jan 2024 10:00:00 GMT"


@dataclass
class Plan:
    """What goes wrong, or happens, at a call.

    Attributes:
        status: HTTP status of the answer; None: the connection is dropped, or no change.
        message: Kaggle's reason.
        drop: whether the connection is closed without an answer.
        after: whether the call is carried out all the same.
        seconds: how long the answer takes.
        cut: bytes of the answer's body after which the connection is closed; None: it is sent
            whole. Then `action` is called when these are sent.
        action: is called at that moment, for example to kill the client.
        headers: further headers of the answer.
        times: how many calls it concerns.
    """

    status: int | None = None
    message: str = ""
    drop: bool = False
    after: bool = False
    seconds: float = 0.0
    cut: int | None = None
    action: Callable[[], None] = lambda: None
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1


@dataclass
class StandIn:
    """The state of the stand-in.

    Attributes:
        labels: the right labels, in order; a submission is scored against them.
        daily_limit: submissions that a day has.
        has_team: whether the account has ever joined the competition; else its limits are zeros.
        lists_before_scored: how often a submission is listed as pending.
        archive: content of the competition's zip.
        outputs: kernel's id -> {file name: content} of its output.
        kernel_states: kernel's id -> states to be answered in turn; the last one stays.
        kernel_logs: kernel's id -> its log.
        failure_messages: kernel's id -> why it failed.
        unlisted: how often the newest submission is missing in the list.
        page_size: files that one answer lists.
        calls: the names of all calls so far.
        submissions: what was submitted, oldest first.
        kernels: kernel's id -> what SaveKernel was sent last.
        downloaded: bytes of the archive that were sent.
    """

    labels: list[int] = field(default_factory=list)
    daily_limit: int = 10
    has_team: bool = True
    lists_before_scored: int = 1
    archive: bytes = b""
    outputs: dict[str, dict[str, bytes]] = field(default_factory=dict)
    kernel_states: dict[str, list[str]] = field(default_factory=dict)
    kernel_logs: dict[str, str] = field(default_factory=dict)
    failure_messages: dict[str, str] = field(default_factory=dict)
    unlisted: int = 0
    page_size: int = 20
    calls: list[str] = field(default_factory=list)
    submissions: list[dict] = field(default_factory=list)
    kernels: dict[str, dict] = field(default_factory=dict)
    downloaded: int = 0
    port: int = 0
    _plans: dict[str, list[Plan]] = field(default_factory=dict)
    _blobs: dict[str, bytes | None] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def variables(self, home: Path) -> dict[str, str]:
        """Return the environment in which the client talks to this server, with credentials."""
        proxy = f"http://127.0.0.1:{self.port}"
        return {
            "HOME": str(home),
            "KAGGLE_CONFIG_DIR": str(home / "kaggle"),
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
            "HTTP_PROXY": proxy,
            "http_proxy": proxy,
            "NO_PROXY": "",
            "no_proxy": "",
            "KAGGLE_API_TOKEN": TOKEN,
        }

    def plan(self, call: str, *plans: Plan) -> None:
        """Plan what happens at the next times that a call is made: a call's name, PUT or GET."""
        self._plans.setdefault(call, []).extend(plans)

    def next_plan(self, call: str) -> Plan:
        """Take what is planned for a call."""
        with self._lock:
            self.calls.append(call)
            plans = self._plans.get(call, [])
            if not plans:
                return Plan()
            plans[0].times -= 1
            return plans[0] if plans[0].times else plans.pop(0)

    @property
    def made_today(self) -> int:
        """How many submissions count for today's limit."""
        return sum(each["status"] != "ERROR" for each in self.submissions)

    # The calls, each from a request's JSON to an answer's; Refused becomes an HTTP error.

    def introspect_token(self, request: dict) -> dict:
        """Say whose a token is."""
        if request["token"] != TOKEN:
            return {"active": False}
        return {"active": True, "username": USERNAME}

    def get_submission_limits(self, request: dict) -> dict:
        """Say how many submissions are left."""
        _known(request)
        if not self.has_team:
            return {"numToday": 0, "numTotal": 0, "numAllowedNow": 0}
        return {
            "numToday": self.made_today,
            "numTotal": self.made_today,
            "numAllowedNow": max(self.daily_limit - self.made_today, 0),
        }

    def list_submissions(self, request: dict) -> dict:
        """List the submissions, newest first, and score those that have waited."""
        _known(request)
        for each in self.submissions:
            if each["status"] == "PENDING":
                each["lists"] += 1
                if each["lists"] > self.lists_before_scored:
                    self._score(each)
        shown = ("ref", "date", "description", "errorDescription", "fileName", "totalBytes")
        shown += ("publicScore", "status")
        listed = self.submissions
        if listed and self.unlisted:
            listed, self.unlisted = listed[:-1], self.unlisted - 1
        return {"submissions": [{k: s[k] for k in shown} for s in reversed(listed)]}

    def start_submission_upload(self, request: dict) -> dict:
        """Open an upload."""
        _known(request)
        if not 0 < request["contentLength"] < 100 * 2**20 or "/" in request["fileName"]:
            raise Refused(400, "The file cannot be uploaded")
        token = f"blob-{len(self._blobs) + 1}"
        self._blobs[token] = None
        self._sizes = {**getattr(self, "_sizes", {}), token: request}
        url = f"http://storage.localhost/upload/{token}?signature=planted-signature"
        return {"token": token, "createUrl": url}

    def create_submission(self, request: dict) -> dict:
        """Take an uploaded file as a submission."""
        _known(request)
        content = self._blobs.get(request["blobFileTokens"])
        if content is None:
            raise Refused(400, "The submission's file was not uploaded")
        if self.made_today >= self.daily_limit:
            raise Refused(400, f"Your team has used all {self.daily_limit} submissions of today")
        if len(request.get("submissionDescription", "")) > 500:
            raise Refused(400, "The description is too long")
        now = datetime.now(UTC).replace(tzinfo=None)
        submission = {
            "ref": 40_000_000 + len(self.submissions),
            "date": now.isoformat(timespec="milliseconds") + "Z",
            "description": request.get("submissionDescription", ""),
            "errorDescription": "",
            "fileName": self._sizes[request["blobFileTokens"]]["fileName"],
            "totalBytes": len(content),
            "publicScore": "",
            "status": "PENDING",
            "content": content,
            "lists": 0,
        }
        self.submissions.append(submission)
        return {"message": "Successfully submitted to Digit Recognizer", "ref": submission["ref"]}

    def _score(self, submission: dict) -> None:
        header, *rows = submission["content"].decode().split()
        cells = [row.split(",") for row in rows]
        ids = [str(number) for number in range(1, len(self.labels) + 1)]
        if header != "ImageId,Label" or [cell[0] for cell in cells] != ids:
            submission["status"] = "ERROR"
            submission["errorDescription"] = (
                f"ERROR: Evaluation Exception: Submission must have {len(ids)} rows"
            )
            return
        right = sum(int(c[1]) == label for c, label in zip(cells, self.labels, strict=True))
        submission["status"] = "COMPLETE"
        submission["publicScore"] = f"{right / len(ids):.5f}"

    def save_kernel(self, request: dict) -> dict:
        """Take a kernel and begin to run it."""
        owner, _, slug = request["slug"].partition("/")
        if owner != USERNAME or not re.fullmatch(r"[a-z0-9-]{5,50}", slug):
            raise Refused(400, f"The kernel id {request['slug']} is not valid")
        if request["kernelType"] not in ("script", "notebook") or request["language"] != "python":
            raise Refused(400, "The kernel's type or language is not valid")
        if len(request["text"]) > 2**20:
            raise Refused(400, "The kernel's source is too large")
        if request["kernelType"] == "notebook":
            json.loads(request["text"])["cells"]
        versions = self.kernels.get(request["slug"], {"version": 0})["version"] + 1
        self.kernels[request["slug"]] = request | {"version": versions}
        unknown = [each for each in request["competitionDataSources"] if each != COMPETITION]
        return {
            "ref": request["slug"],
            "url": f"https://www.kaggle.com/code/{request['slug']}",
            "versionNumber": versions,
            "invalidCompetitionSources": unknown,
        }

    def get_kernel_session_status(self, request: dict) -> dict:
        """Say how far a kernel is."""
        name = self._kernel(request)
        states = self.kernel_states.get(name) or ["COMPLETE"]
        state = states.pop(0) if len(states) > 1 else states[0]
        return {"status": state, "failureMessage": self.failure_messages.get(name, "")}

    def list_kernel_session_output(self, request: dict) -> dict:
        """List a page of a kernel's files, with the log on each page."""
        name = self._kernel(request)
        files = sorted(self.outputs.get(name, {}))
        start = int(request.get("pageToken") or 0)
        size = min(request.get("pageSize") or self.page_size, self.page_size)
        page = files[start : start + size]
        rest = start + size
        return {
            "files": [{"fileName": f, "url": self._output_url(name, f)} for f in page],
            "log": self.kernel_logs.get(name, ""),
            "nextPageToken": str(rest) if rest < len(files) else "",
        }

    def _kernel(self, request: dict) -> str:
        name = f"{request['userName']}/{request['kernelSlug']}"
        if name not in self.kernels and name not in self.outputs:
            raise Refused(404, f"Kernel {name} was not found")
        return name

    def _output_url(self, kernel: str, name: str) -> str:
        coded = base64.urlsafe_b64encode(f"{kernel}\n{name}".encode()).decode()
        return f"http://storage.localhost/output/{coded}?signature=planted-signature"

    def download_data_files(self, request: dict) -> str:
        """Return where the competition's zip is."""
        _known(request)
        return f"http://storage.localhost/data/{COMPETITION}.zip?signature=planted-signature"

    def stored(self, path: str) -> bytes | None:
        """Return what is at a place of the storage; None: nothing."""
        kind, _, name = path.strip("/").partition("/")
        if kind == "data":
            return self.archive
        if kind == "output":
            kernel, _, file = base64.urlsafe_b64decode(name).decode().partition("\n")
            return self.outputs[kernel][file]
        return None

    def put(self, path: str, content: bytes) -> int:
        """Store an upload; return the HTTP status."""
        token = path.rpartition("/")[2]
        if token not in self._blobs or len(content) != self._sizes[token]["contentLength"]:
            return 400
        self._blobs[token] = content
        return 200


class Refused(Exception):
    """Kaggle's answer is an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _known(request: dict) -> None:
    if request["competitionName"] != COMPETITION:
        raise Refused(404, f"Competition {request['competitionName']} was not found")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def log_message(self, *arguments):
        pass

    def do_POST(self):
        request = json.loads(self._body() or b"{}")
        call = urlsplit(self.path).path.rpartition("/")[2]
        self._answer(call, lambda: self._call(call, request))

    def do_PUT(self):
        content, path = self._body(), urlsplit(self.path).path

        def put():
            status = self.server.state.put(path, content)
            return status, {}, b""

        self._answer("PUT", put)

    def do_GET(self):
        path = urlsplit(self.path).path
        if "/kernels/logs/stream/" in path:
            self._answer("Logs", lambda: self._logs("/".join(path.split("/")[-2:])))
        else:
            self._answer("GET", lambda: self._stored(path))

    def _body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, call, carry_out):
        state = self.server.state
        plan = state.next_plan(call)
        answer = None
        if plan.after or (plan.status is None and not plan.drop):
            answer = carry_out()
        if plan.cut is None:
            plan.action()
        time.sleep(plan.seconds)
        if plan.drop:
            self.close_connection = True
            self.connection.close()
            return
        if plan.status is not None:
            content = json.dumps({"code": plan.status, "message": plan.message}).encode()
            answer = (plan.status, {"Content-Type": "application/json", **plan.headers}, content)
        status, headers, content = answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: plan.cut])
        if plan.cut is not None:
            plan.action()
            self.close_connection = True

    def _call(self, call, request):
        state = self.server.state
        if call != "IntrospectToken" and not self._is_signed_in():
            return _error(401, "Unauthenticated")
        method = getattr(state, re.sub(r"(?<!^)(?=[A-Z])", "_", call).lower(), None)
        if method is None:
            return _error(404, f"no such call: {call}")
        try:
            answer = method(request)
        except Refused as refused:
            return _error(refused.status, str(refused))
        if isinstance(answer, str):
            return 302, {"Location": answer}, b""
        return 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()

    def _is_signed_in(self):
        sent = self.headers.get("Authorization", "")
        basic = base64.b64encode(f"{USERNAME}:{KEY}".encode()).decode()
        return sent in (f"Bearer {TOKEN}", f"Basic {basic}")

    def _stored(self, path):
        content = self.server.state.stored(path)
        if content is None:
            return 404, {}, b""
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        headers = {"ETag": tag, "Last-Modified": LAST_MODIFIED, "Accept-Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        status = 200
        if asked and self.headers.get("If-Range", tag) == tag and int(asked[1]) < len(content):
            headers["Content-Range"] = f"bytes {asked[1]}-{len(content) - 1}/{len(content)}"
            content, status = content[int(asked[1]) :], 206
        self.server.state.downloaded += len(content)
        return status, headers, content

    def _logs(self, kernel):
        log = self.server.state.kernel_logs.get(kernel, "")
        events = [{"stream_name": "stdout", "time": 0, "data": line} for line in log.splitlines()]
        return 200, {"Content-Type": "application/json"}, json.dumps(events).encode()


def _error(status, message):
    content = json.dumps({"code": status, "message": message}).encode()
    return status, {"Content-Type": "application/json"}, content


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    state: StandIn

    def handle_error(self, request, client_address):
        pass  # a client that was killed


@contextmanager
def serving(state: StandIn):
    """Run the stand-in in a thread of this process.

    Args:
        state: what it knows.

    Yields:
        The same state, with the port filled in.
    """
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.state, state.port = state, server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
