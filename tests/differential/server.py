"""One Tidewater server as a process, and kept connections to it. Knows nothing of what is asked."""

import http.client
import json
import os
import signal
import subprocess
import time
from decimal import Decimal

ADMIN_KEY = "differential-admin-key-0123456789abcdef"
PATIENCE_S = 120


class Refused(Exception):
    """A reply that is no success."""

    def __init__(self, status, body):
        super().__init__(f"{status}: {body[:2000].decode(errors='replace')}")
        self.status = status
        self.problem = json.loads(body) if body[:1] == b"{" else {}


class Server:
    """A running server on a folder; it can be ended either way and started again on the same data."""

    def __init__(self, binary, folder, settings):
        self.binary, self.folder = binary, folder
        self.env = {
            **os.environ,
            "TIDEWATER_ADMIN_KEY": ADMIN_KEY,
            "TIDEWATER_STORE__DISK_FREE_MIN_BYTES": "1048576",
            **settings,
        }
        self.process = None
        self.client = None
        self.start()

    def start(self):
        log = open(os.path.join(self.folder, "log.txt"), "ab")
        data = os.path.join(self.folder, "data")
        self.process = subprocess.Popen(
            [self.binary, "serve", "--data", data, "--listen", "127.0.0.1:0"],
            env=self.env, cwd=self.folder, stdout=subprocess.PIPE, stderr=log,
        )
        log.close()
        said = "tidewater listens on http://"
        for line in self.process.stdout:
            if line.decode().startswith(said):
                self.address = line.decode()[len(said):].strip()
                break
        else:
            raise RuntimeError(f"the server did not start:\n{self.log()}")
        self.client = Client(self.address)

    def log(self):
        with open(os.path.join(self.folder, "log.txt"), errors="replace") as file:
            return file.read()[-8000:]

    def stop(self, how=signal.SIGTERM):
        """Ends the process by a signal and waits for it."""
        self.process.send_signal(how)
        status = self.process.wait(PATIENCE_S)
        self.process.stdout.close()
        if how == signal.SIGTERM and status != 0:
            raise RuntimeError(f"the server ended with {status}:\n{self.log()}")

    def restart(self, how=signal.SIGTERM):
        self.stop(how)
        self.start()


class Client:
    """One kept connection; a thread has its own."""

    def __init__(self, address):
        self.address, self.connection = address, None
        # What the last reply said of its way through the caches.
        self.cache = None

    def send(self, method, path, body=None, kind="application/json"):
        """Status and body, over the kept connection; a full server is asked again after a moment."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            if self.connection is None:
                self.connection = http.client.HTTPConnection(self.address, timeout=PATIENCE_S)
            headers = {"Authorization": f"Bearer {ADMIN_KEY}", "Content-Type": kind}
            self.connection.request(method, path, body, headers)
            reply = self.connection.getresponse()
            content = reply.read()
            self.cache = reply.getheader("X-Cache")
            if reply.will_close:
                self.connection.close()
                self.connection = None
            if reply.status not in (429, 503) or time.monotonic() > deadline:
                return reply.status, content
            time.sleep(0.05)

    def call(self, method, path, body=None, kind="application/json"):
        """The reply's JSON with numbers as written; anything but success raises."""
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        status, content = self.send(method, path, body.encode() if isinstance(body, str) else body, kind)
        if status >= 300:
            raise Refused(status, content)
        return json.loads(content, parse_float=Decimal) if content else None
