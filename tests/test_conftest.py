"""The test suite's own promises: what is missing is said, or fails; nothing reaches the network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = """
import socket
import urllib.request

import pytest


@pytest.mark.needs_dcmtk
def test_needs_a_program(): ...


@pytest.mark.needs_dcmtk
def test_needs_it_too(): ...


def test_needs_nothing(): ...


@pytest.mark.parametrize("address", ["192.0.2.1", "example.org"])
def test_reaches_out(address):
    try:
        urllib.request.urlopen(f"http://{address}")
    except Exception:  # as a library does that goes on without the network
        pass


def test_stays_here():
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    client.close()
    server.close()
"""


@pytest.fixture
def suite(tmp_path):
    """Runs a little suite with our conftest where no program is installed; its status and its lines."""
    (tmp_path / "test_suite.py").write_text(SUITE)
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)

    def run(*words, **named):
        start = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull, *words, str(tmp_path)]
        environment = {**os.environ, "PATH": str(tmp_path), "MMSSL_REQUIRE": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        environment |= named
        done = subprocess.run(start, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
        return done.returncode, (done.stdout + done.stderr).splitlines()

    return run


@pytest.mark.parametrize("processes", [(), ("-p", "xdist", "-n", "2")])
def test_what_was_skipped_for_a_missing_program_is_listed_at_the_end(suite, processes):
    status, lines = suite("-k", "needs", *processes)
    assert status == 0
    assert "1 passed, 2 skipped" in lines[-1]
    at = lines.index("skipped for a missing program: dcmtk (2 tests)")
    assert sorted(line.strip().partition("::")[2] for line in lines[at + 1 : at + 3]) == [
        "test_needs_a_program",
        "test_needs_it_too",
    ]
    assert at > len(lines) - 10


def test_nothing_skipped_is_said_too(suite):
    status, lines = suite("-k", "test_needs_nothing")
    assert status == 0
    assert "skipped for a missing program: none" in lines


def test_a_required_program_that_is_missing_is_a_failure(suite):
    status, lines = suite("-k", "needs", MMSSL_REQUIRE="chromium, dcmtk")
    assert status == 1
    assert "1 passed" in lines[-1]
    assert any("needs dcmtk, which MMSSL_REQUIRE asks for and is not installed" in line for line in lines)


def test_an_unknown_required_program_is_wrong_use(suite):
    status, lines = suite(MMSSL_REQUIRE="dcmkt")
    assert status == 4
    assert any("MMSSL_REQUIRE names dcmkt; known are chromium, " in line for line in lines)


def test_no_test_reaches_the_network_even_if_it_would_not_notice(suite):
    status, lines = suite("-k", "test_reaches_out or test_stays_here")
    assert status == 1
    assert "2 failed, 1 passed" in lines[-1]
    assert any("a test wanted to reach example.org; tests use no network" in line for line in lines)
