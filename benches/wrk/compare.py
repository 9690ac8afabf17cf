#!/usr/bin/env python3
"""CPU per request of the gateway and of others that do the same job, side by side in one run.

Each contestant has a core to itself; wrk and the upstream share the other. Rounds alternate between the contestants,
because a shared machine drifts. CPU is user plus system time of the contestant's processes (/proc/PID/stat): what a
cloud bills. Contestants that are not installed are skipped by name.

    benches/wrk/compare.py [--seconds 5] [--rounds 5] [--startups 20]
"""

import argparse
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
CLIENT = "1-bench.apps.googleusercontent.com"
MODULES = "/usr/lib/nginx/modules"
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fill(template, directory, **values):
    text = (HERE / template).read_text()
    for name, value in {"DIR": directory, "MODULES": MODULES, "ARCH": sysconfig.get_config_var("MULTIARCH"), "CLIENT": CLIENT, **values}.items():
        text = text.replace(f"@{name}@", str(value))
    path = pathlib.Path(directory) / template
    path.write_text(text)
    return path


def on_core(core, *command):
    return ["taskset", "-c", str(core), *map(str, command)]


def processes_below(pid):
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid] + [found for child in children for found in processes_below(int(child))]


def cpu_seconds(pid):
    total = 0
    for process in processes_below(pid):
        fields = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


class Contestant:
    def __init__(self, name, command, port, headers):
        self.name, self.command, self.port, self.headers = name, command, port, headers
        self.rounds, self.startups = [], []
        self.process = None

    def answers(self):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/")
        for header in self.headers:
            name, value = header.split(": ", 1)
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                return response.status == 200
        except OSError:
            return False

    def start(self):
        """Starts it, and returns how long the first authorised answer took."""
        begin = time.monotonic()
        self.process = subprocess.Popen(on_core(0, *self.command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while not self.answers():
            if self.process.poll() is not None:
                sys.exit(f"{self.name} ended: {self.process.stderr.read().decode()}")
            if time.monotonic() - begin > 20:
                sys.exit(f"{self.name} does not answer with 200")
            time.sleep(0.0005)
        return time.monotonic() - begin

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()

    def load(self, seconds):
        url = f"http://127.0.0.1:{self.port}/"
        headers = [part for header in self.headers for part in ("-H", header)]
        before = cpu_seconds(self.process.pid)
        done = subprocess.run(
            on_core(1, "wrk", "-t1", "-c32", f"-d{seconds}s", *headers, url), capture_output=True, text=True, check=True
        ).stdout
        used = cpu_seconds(self.process.pid) - before
        requests = int(re.search(r"(\d+) requests in", done).group(1))
        if "Non-2xx" in done or requests == 0:
            sys.exit(f"{self.name} refused requests:\n{done}")
        return used / requests * 1e6, requests / seconds


def gateway_file(directory, port, upstream, google):
    path = pathlib.Path(directory) / "gateway.yaml"
    path.write_text(
        f"""version: 1
listen: 127.0.0.1:{port}
log: {{ requests: refused }}
google:
  client_id: {CLIENT}
  endpoints:
    tokeninfo: http://{google}/tokeninfo
    certs: http://{google}/oauth2/v3/certs
    metadata: http://{google}
allow: {{ domains: [example.com] }}
upstreams: {{ service: {{ url: "http://{upstream}", audience: "http://bench" }} }}
locations: [{{ path: /, access: google, upstream: service }}]
"""
    )
    return path


def contestants(directory, upstream, google, token):
    bearer = [f"Authorization: Bearer {token}"]
    def sub(name):
        path = pathlib.Path(directory) / name
        path.mkdir()
        return path
    port = free_port()
    yield Contestant(
        "portcullis",
        [ROOT / "target/release/portcullis", "run", "--config", gateway_file(directory, port, upstream, google)],
        port,
        bearer,
    )
    port = free_port()
    yield Contestant(
        "empty Pingora proxy",
        [ROOT / "target/release/examples/empty_proxy", f"127.0.0.1:{port}", upstream],
        port,
        bearer,
    )
    if not shutil.which("nginx"):
        print("skipped: nginx, nginx + Lua (nginx is not installed)")
        return
    nginx = ["nginx", "-g", "daemon off;", "-c"]
    port, own = free_port(), sub("plain")
    conf = fill("nginx-plain.conf", own, LISTEN=f"127.0.0.1:{port}", UPSTREAM=upstream)
    yield Contestant("nginx (checks nothing)", [*nginx, conf], port, bearer)
    if not pathlib.Path(MODULES, "ngx_http_lua_module.so").exists():
        print("skipped: nginx + Lua (libnginx-mod-http-lua is not installed)")
        return
    port, own = free_port(), sub("lua")
    conf = fill("nginx-lua.conf", own, LISTEN=f"127.0.0.1:{port}", UPSTREAM=upstream, GOOGLE=google)
    yield Contestant("nginx + Lua", [*nginx, conf], port, bearer)


def start_google():
    """The stand-in for Google of `portcullis dev`, from a build that has it."""
    binary = ROOT / "target/debug/portcullis"
    if not binary.exists():
        sys.exit("target/debug/portcullis is missing: run cargo build")
    process = subprocess.Popen(
        on_core(1, binary, "dev", "--listen", f"127.0.0.1:{free_port()}"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    for line in process.stdout:
        found = re.match(r"Stand-in\s+http://([^/]+)/", line)
        if found:
            return process, found.group(1)
    sys.exit("portcullis dev did not say where its stand-in is")


def report(found, startups):
    ours = next(entry for entry in found if entry.name == "portcullis")
    own_cost = statistics.median(cost for cost, _ in ours.rounds)
    print(f"\n{'contestant':<24} {'CPU µs/request':>15} {'spread':>15} {'requests/s':>11} {'ours is':>9} {'start ms':>9}")
    for entry in found:
        costs = sorted(cost for cost, _ in entry.rounds)
        cost, rate = statistics.median(costs), statistics.median(rate for _, rate in entry.rounds)
        begin = f"{statistics.median(entry.startups) * 1000:.1f}" if startups else "-"
        print(f"{entry.name:<24} {cost:>15.1f} {costs[0]:>6.1f} – {costs[-1]:<6.1f} {rate:>11.0f} {own_cost / cost:>8.2f}x {begin:>9}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--startups", type=int, default=20)
    arguments = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="portcullis-bench-")
    os.chmod(directory, 0o755)
    google_process, google = start_google()
    upstream_dir = pathlib.Path(directory) / "upstream"
    upstream_dir.mkdir()
    upstream = f"127.0.0.1:{free_port()}"
    conf = fill("upstream.conf", upstream_dir, LISTEN=upstream)
    upstream_process = subprocess.Popen(on_core(1, "nginx", "-g", "daemon off;", "-c", conf))
    found = []
    try:
        address = f"http://{google}/dev/access-token?as=ada@example.com&client_id={CLIENT}"
        token = urllib.request.urlopen(address).read().decode().strip()
        found = list(contestants(directory, upstream, google, token))
        for _ in range(arguments.startups):
            for entry in found:
                entry.startups.append(entry.start())
                entry.stop()
        for entry in found:
            entry.start()
            entry.load(1)
        for _ in range(arguments.rounds):
            for entry in found:
                entry.rounds.append(entry.load(arguments.seconds))
        for entry in found:
            entry.stop()
        report(found, arguments.startups)
    finally:
        for entry in found:
            entry.kill()
        upstream_process.terminate()
        google_process.terminate()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
