"""What all tests share: quiet threads, no network, tests that need other programs, and the demo run once."""

import collections
import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

# Before torch and the rest are imported, by tests and by the processes that they start.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["NO_COLOR"] = "1"
os.environ["COLUMNS"] = "120"
for name in ("MMSSL_TRACEBACK", "FORCE_COLOR", "GITHUB_ACTIONS"):
    os.environ.pop(name, None)

# A shell that starts tests in the background has them ignore Ctrl-C, and the programs they start would too.
signal.signal(signal.SIGINT, signal.default_int_handler)

PROGRAMS = {
    "chromium": [("chromium", "chromium-browser", "google-chrome")],
    "dcm2niix": [("dcm2niix",)],
    "dcmtk": [("dcmdump",), ("dcm2pnm",), ("storescu",)],
    "gdcm": [("gdcmraw",), ("gdcmconv",)],
    "orthanc": [("Orthanc", "orthanc")],
}
"""What a test marked `needs_NAME` needs: one program out of each group."""

ROOT = Path(__file__).parent.parent


def missing(name):
    """Whether a program that `needs_NAME` stands for is not there."""
    return not all(any(shutil.which(program) for program in group) for group in PROGRAMS[name])


def required():
    """The programs that MMSSL_REQUIRE names: without them a test fails that would be skipped."""
    return [name.strip() for name in os.environ.get("MMSSL_REQUIRE", "").split(",") if name.strip()]


def pytest_configure(config):
    for name in PROGRAMS:
        config.addinivalue_line("markers", f"needs_{name}: skipped where {name} is not installed")
    if unknown := set(required()) - set(PROGRAMS):
        raise pytest.UsageError(f"MMSSL_REQUIRE names {', '.join(sorted(unknown))}; known are {', '.join(PROGRAMS)}")
    if "HF_HOME" not in os.environ:  # a data set opened in a test leaves no copy in the user's cache
        folder = tempfile.TemporaryDirectory(prefix="mmssl-tests-")
        os.environ["HF_HOME"] = folder.name
        config.add_cleanup(folder.cleanup)


def pytest_runtest_setup(item):
    for name in PROGRAMS:
        if item.get_closest_marker(f"needs_{name}") and missing(name):
            if name in required():
                pytest.fail(f"needs {name}, which MMSSL_REQUIRE asks for and is not installed", pytrace=False)
            pytest.skip(f"needs {name}, which is not installed")


def pytest_terminal_summary(terminalreporter):
    tests = collections.defaultdict(list)
    for report in terminalreporter.stats.get("skipped", []):
        for name in PROGRAMS:
            if f"needs {name}, which is not installed" in str(report.longrepr):
                tests[name].append(report.nodeid)
    counts = [f"{name} ({len(ids)} test{'s' if len(ids) > 1 else ''})" for name, ids in sorted(tests.items())]
    terminalreporter.write_line(f"skipped for a missing program: {', '.join(counts) or 'none'}")
    for name, ids in sorted(tests.items()):
        for test in ids:
            terminalreporter.write_line(f"  {name}: {test}")


LOCAL = ("localhost", "::1", "", "0.0.0.0", "::", None)


def _check(host):
    if host not in LOCAL and not str(host).startswith("127."):
        pytest.fail(f"a test wanted to reach {host}; tests use no network")


def _connect(self, address, _connect=socket.socket.connect):
    if self.family != socket.AF_UNIX:
        _check(address[0])
    return _connect(self, address)


def _getaddrinfo(host, *rest, _getaddrinfo=socket.getaddrinfo, **named):
    _check(host.decode() if isinstance(host, bytes) else host)
    return _getaddrinfo(host, *rest, **named)


socket.socket.connect = _connect
socket.getaddrinfo = _getaddrinfo


@pytest.fixture(autouse=True)
def heard(monkeypatch):
    """A command that was asked to be quiet quiets no test after it."""
    monkeypatch.setattr("mmssl.console.quiet", False)


@pytest.fixture
def calls(monkeypatch):
    """Calls of the functions below the commands, as (name, args, named); nothing is done."""
    made = []

    def fake(name):
        def call(*args, **named):
            made.append((name, args, named))
            return []

        return call

    for module, name in [
        ("mmssl.jobs.demo", "demo"),
        ("mmssl.phantoms.hospital", "write"),
        ("mmssl.prepare.job", "prepare"),
        ("mmssl.reports", "reports"),
        ("mmssl.train", "pretrain"),
        ("mmssl.zeroshot", "zeroshot"),
        ("mmssl.zeroshot", "calibrate"),
        ("mmssl.retrieval", "retrieve"),
        ("mmssl.search.index", "index"),
        ("mmssl.search.query", "search"),
        ("mmssl.export", "export"),
        ("mmssl.evaluate", "evaluate"),
        ("mmssl.drift.job", "drift"),
        ("mmssl.overlap.job", "overlap"),
    ]:
        monkeypatch.setattr(importlib.import_module(module), name, fake(name))
    for shows in ("mmssl.drift.job.show", "mmssl.overlap.job.show"):
        monkeypatch.setattr(shows, lambda found: None)  # there is nothing to show
    return made


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory):
    """What `mmssl demo` writes; MMSSL_DEMO names one that is there already, as `make test-all` does."""
    if done := os.environ.get("MMSSL_DEMO"):
        return Path(done)
    folder = tmp_path_factory.mktemp("demo") / "demo"
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    subprocess.run([sys.executable, "-m", "mmssl", "demo", folder], check=True, env=environment)
    return folder
