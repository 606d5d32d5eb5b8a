"""One Tidewater server as a process: start, ask, kill, weigh. Knows nothing of phases and figures."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

# Only ever used on a loopback port of the benchmark's own server.
ADMIN_KEY = "tidewater-bench-admin-key-0123456789abcdef"
# How the files end that hold the roll-ups of a segment.
SIDECAR_SUFFIX = ".rollup"
# A benchmark asks more than one caller may in production. Limits are counted all the same, only never reached.
LIMITS_RAISED = {
    f"TIDEWATER_LIMITS__{name}": "1000000000" for name in ("ADMIN_PER_MINUTE", "ADMIN_BURST", "ADDRESS_PER_MINUTE")
}
READY_WITHIN_S = 120
STOP_WITHIN_S = 120


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu_seconds(pid):
    """Processor time of a process so far, user and system."""
    with open(f"/proc/{pid}/stat") as stat:
        # The name in parentheses may hold spaces; the 12th and 13th fields after it are utime and stime.
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Server:
    """A running server on a data folder; use it as a context manager, so that it is stopped."""

    def __init__(self, binary, data, log, env=None):
        self.data = data
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        os.makedirs(data, exist_ok=True)
        self.log = open(log, "ab")
        # The headers of the latest reply.
        self.last_headers = {}
        started = time.perf_counter()
        self.process = subprocess.Popen(
            [binary, "serve", "--data", data, "--listen", address],
            env={**os.environ, "TIDEWATER_ADMIN_KEY": ADMIN_KEY, **LIMITS_RAISED, **(env or {})},
            stdout=self.log,
            stderr=self.log,
        )
        try:
            self.wait_until_ready(started)
        except BaseException:
            self.kill()
            raise
        self.ready_s = time.perf_counter() - started

    def wait_until_ready(self, started):
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}; see {self.log.name}")
            try:
                self.request("GET", "/health/ready")
                return
            except (urllib.error.URLError, ConnectionError):
                if time.perf_counter() - started > READY_WITHIN_S:
                    raise RuntimeError(f"the server was not ready within {READY_WITHIN_S} s; see {self.log.name}") from None
                time.sleep(0.01)

    def request(self, method, path, body=None):
        """The reply's bytes; an error status raises with the server's own explanation."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {ADMIN_KEY}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as reply:
                self.last_headers = reply.headers
                return reply.read()
        except urllib.error.HTTPError as error:
            error.msg = f"{error.msg}: {error.read(400).decode(errors='replace')}"
            raise

    def count(self, dataset):
        query = {"dataset": dataset, "date_range": "all", "metrics": [{"agg": "count"}]}
        results = json.loads(self.request("POST", "/api/v1/query", query))["results"]
        return results[0]["metrics"][0] if results else 0

    def metric(self, name):
        """The sum of a metric over its labels, or None where it does not occur."""
        lines = self.request("GET", "/metrics").decode().splitlines()
        values = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((name + " ", name + "{"))]
        return sum(values) if values else None

    def peak_rss_bytes(self):
        """VmHWM: the most memory the process ever held."""
        with open(f"/proc/{self.process.pid}/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        raise RuntimeError("the kernel reports no VmHWM")

    def cpu_seconds(self):
        """Processor time of the process so far."""
        return cpu_seconds(self.process.pid)

    def disk(self):
        """Files and bytes of the data folder, as allocated on disk."""
        paths = [os.path.join(root, name) for root, _, names in os.walk(self.data) for name in names]
        size = lambda chosen: sum(os.lstat(path).st_blocks * 512 for path in chosen)
        segments = [path for path in paths if path.endswith(".parquet")]
        sidecars = [path for path in paths if path.endswith(SIDECAR_SUFFIX)]
        return {
            "files": len(paths),
            "segment_files": len(segments),
            "bytes": size(paths),
            "segment_bytes": size(segments),
            "sidecar_bytes": size(sidecars),
        }

    def kill(self):
        """SIGKILL: no chance to flush or say goodbye."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(STOP_WITHIN_S)
            self.log.close()
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"the server did not stop within {STOP_WITHIN_S} s") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()
