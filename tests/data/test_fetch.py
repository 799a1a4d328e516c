"""`bench data fetch cmu` against a server of the test's own: whole, broken off, wrong, missing, slow and silent."""

from __future__ import annotations

import gzip
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import filelock
import pytest
from test_cmu import amc, asf

from bench import load_dataset
from bench.cli import main
from bench.config import load_benchmark
from bench.data import fetch
from bench.data.cmu import RATE_HZ, RATES_HZ

ASF, AMC = asf().encode(), amc(25, step=0.1).encode()


class Server(ThreadingHTTPServer):
    """Serves `files` by path, and notes every request: (path, Range or "").

    ranges: whether it knows parts. answers: what it does instead, by path: a status, a number of bytes after which it
    hangs up (as a negative number), or "silent"; of a list, one request after the other.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.answers: dict[str, list[int | str]] = {}
        self.requests: list[tuple[str, str]] = []
        self.done = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def asked(self) -> list[str]:
        return [path.rpartition("/")[2] for path, _ in self.requests]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.server.requests.append((self.path, wanted))
        answers = self.server.answers.get(self.path, [])
        answer = answers.pop(0) if answers else 200
        if answer == "silent":
            self.server.done.wait(10)
            return
        if self.path not in self.server.files or (isinstance(answer, int) and answer >= 400):
            self.send_error(answer if isinstance(answer, int) and answer >= 400 else 404)
            return
        content = self.server.files[self.path]
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start - answer] if isinstance(answer, int) and answer < 0 else content[start:])

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    """Holds made-up trials 02_01 and 02_03, which are listed with their hashes, and 05_01, listed without."""
    running = Server()
    running.files = {f"/subjects/{name[:2]}/{name}.amc": AMC for name in ("02_01", "02_03", "05_01")}
    running.files |= {f"/subjects/{subject}/{subject}.asf": ASF for subject in ("02", "05")}
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    known = (hashlib.sha256(AMC).hexdigest(), hashlib.sha256(ASF).hexdigest())
    rows = [("02_01", "walk", "120", *known), ("02_03", "run", "60", *known), ("05_01", "dance", "120", "", "")]
    monkeypatch.setattr(fetch, "listed_trials", lambda: {row[0]: fetch.Listed(*row) for row in rows})
    monkeypatch.setattr(fetch, "PAUSE", 0.0)
    monkeypatch.setattr(fetch, "PATIENCE", 0.25)
    yield running
    running.done.set()
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def command(server, tmp_path, monkeypatch, capsys) -> Callable[..., str]:
    """Runs `bench data fetch cmu --data .` with more options against the server; returns all that it says."""
    monkeypatch.chdir(tmp_path)

    def call(*options: str, status: int = 0) -> str:
        with pytest.raises(SystemExit) as caught:
            main(["data", "fetch", "cmu", "--data", ".", "--url", server.url, *options])
        out, err = capsys.readouterr()
        assert caught.value.code == status, err
        assert "Traceback" not in err
        return out + err

    return call


def files() -> list[str]:
    return sorted(str(path) for path in Path("cmu").rglob("*") if path.is_file() and path.name != ".fetch.lock")


WHOLE = ["cmu/02/02.asf", "cmu/02/02_01.amc", "cmu/02/02_03.amc", "cmu/05/05.asf", "cmu/05/05_01.amc", "cmu/trials.csv"]


def test_what_is_fetched_is_a_data_set_with_actions_and_rates(command, server, capsys):
    text = command()
    assert text.splitlines() == [
        "fetched  cmu/02/02.asf  0.0 MB  (trial 1 of 3)",
        "fetched  cmu/02/02_01.amc  0.0 MB  (trial 1 of 3)",
        "fetched  cmu/02/02_03.amc  0.0 MB  (trial 2 of 3)",
        "fetched  cmu/05/05.asf  0.0 MB  (trial 3 of 3)",
        "fetched  cmu/05/05_01.amc  0.0 MB  (trial 3 of 3)",
        "3 of 3 trials in cmu, 0 were there before",
        fetch.ACKNOWLEDGEMENT,
    ]
    assert files() == WHOLE
    assert Path("cmu/02/02_01.amc").read_bytes() == AMC
    dataset = load_dataset("cmu", ".")
    videos = dataset.sequences.drop_duplicates(["subject", "sequence"])
    assert [tuple(row) for row in videos[["subject", "action", "frames"]].to_numpy()] == [
        ("02", "run", 21), ("02", "walk", 11), ("05", "dance", 11),
    ]  # fmt: skip

    server.requests.clear()
    assert "3 of 3 trials in cmu, 3 were there before" in command()
    assert server.requests == [], "nothing is fetched twice"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--subjects", "05"), ["05.asf", "05_01.amc"]),
        (("--trials", "02_03"), ["02.asf", "02_03.amc"]),
        (("--subjects", "05", "--trials", "02_01,05_01"), ["02.asf", "02_01.amc", "05.asf", "05_01.amc"]),
    ],
)
def test_some_subjects_or_trials(command, server, options, expected):
    command(*options)
    assert server.asked == expected


def test_a_trial_that_is_not_listed_is_fetched_by_name_and_must_be_readable(command, server):
    server.files["/subjects/02/02_99.amc"] = AMC
    server.files["/subjects/02/02_98.amc"] = b"<html>please log in</html>"
    text = command("--trials", "02_98,02_99", status=2)
    assert "1 of 2 trials were not fetched:\n  02_98: " in text
    assert "02_98.amc failed the check and was deleted: " in text
    assert "cmu/02/02_99.amc" in files()
    assert "cmu/02/02_98.amc" not in files()


# --- broken off


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_that_breaks_off_goes_on_where_it_was_or_starts_anew(command, server, ranges):
    server.ranges = ranges
    server.answers["/subjects/02/02_01.amc"] = [-1000, -500]
    command("--trials", "02_01")
    assert Path("cmu/02/02_01.amc").read_bytes() == AMC
    asked = [part for path, part in server.requests if path.endswith("amc")]
    assert asked == ["", "bytes=1000-", "bytes=1500-" if ranges else "bytes=500-"]


@pytest.mark.parametrize(
    ("left", "asked"),
    [
        (AMC[:700], ["bytes=700-"]),  # of an earlier call
        (AMC, [f"bytes={len(AMC)}-"]),  # all of it, but not yet in its place
        (b"", [""]),
        (b"x" * 700, ["bytes=700-", ""]),  # of another file
        (b"x" * 9_999_999, ["bytes=9999999-", ""]),
    ],
)
def test_what_an_earlier_call_left_is_used_if_it_is_of_this_file(command, server, left, asked):
    Path("cmu/02").mkdir(parents=True)
    Path("cmu/02/02_01.amc.part").write_bytes(left)
    command("--trials", "02_01")
    assert Path("cmu/02/02_01.amc").read_bytes() == AMC
    assert [part for path, part in server.requests if path.endswith("amc")] == asked
    assert files() == ["cmu/02/02.asf", "cmu/02/02_01.amc", "cmu/trials.csv"]


def test_stopped_half_way_the_same_command_goes_on(command, server, monkeypatch):
    def stop(response):
        yield response.read(600)
        raise KeyboardInterrupt

    command("--subjects", "05")
    monkeypatch.setattr(fetch, "_chunks", stop)
    assert "run the same command again to continue" in command("--trials", "02_01", status=130)
    assert "cmu/02/02.asf.part" in files()
    assert "cmu/02/02.asf" not in files()
    monkeypatch.undo()


# --- a server that fails


def test_a_hash_that_is_wrong_deletes_the_file_and_the_others_are_fetched(command, server):
    server.files["/subjects/02/02_01.amc"] = AMC.replace(b"17", b"18", 1)
    text = command(status=2)
    wrong, right = (hashlib.sha256(one).hexdigest() for one in (server.files["/subjects/02/02_01.amc"], AMC))
    assert "2 of 3 trials in cmu, 0 were there before" in text
    assert f"failed the check and was deleted: SHA-256 {wrong}, expected {right}" in text
    assert files() == [name for name in WHOLE if "02_01" not in name]
    assert fetch.ACKNOWLEDGEMENT in text


def test_line_ends_are_no_difference(command, server):
    server.files["/subjects/02/02_01.amc"] = AMC.replace(b"\n", b"\r\n")
    command("--trials", "02_01")
    assert Path("cmu/02/02_01.amc").read_bytes() == AMC.replace(b"\n", b"\r\n")


def test_what_is_not_there_is_named_and_the_others_are_fetched(command, server):
    del server.files["/subjects/02/02.asf"], server.files["/subjects/05/05_01.amc"]
    server.files["/subjects/05/05_02.amc"] = AMC
    text = command("--subjects", "02", "--trials", "05_01,05_02", status=2)
    assert "3 of 4 trials were not fetched:" in text
    for trial, file in (("02_01", "02.asf"), ("02_03", "02.asf"), ("05_01", "05_01.amc")):
        folder = file[:2]
        assert f"  {trial}: {server.url}/subjects/{folder}/{file} is not available: 404 Not Found" in text
    assert server.asked == ["02.asf", "05.asf", "05_01.amc", "05_02.amc"], "no motion without its skeleton"
    assert files() == ["cmu/05/05.asf", "cmu/05/05_02.amc", "cmu/trials.csv"]


def test_a_server_that_is_busy_or_silent_is_asked_again(command, server):
    server.answers["/subjects/02/02_01.amc"] = [503, "silent", 429]
    command("--trials", "02_01")
    assert server.asked == ["02.asf", *["02_01.amc"] * 4]
    assert Path("cmu/02/02_01.amc").read_bytes() == AMC


def test_a_server_that_stays_silent_is_given_up(command, server):
    server.answers["/subjects/02/02_03.amc"] = ["silent"] * 4
    text = command(status=2)
    assert "02_03.amc cannot be fetched, tried 4 times: " in text
    assert "timed out" in text
    assert "the same command resumes" in text
    assert server.asked[-1] == "02_03.amc", "the rest would be no better"
    assert files() == ["cmu/02/02.asf", "cmu/02/02_01.amc", "cmu/trials.csv"]


def test_without_a_network_one_clear_message(command):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        text = command("--url", f"http://127.0.0.1:{unused.getsockname()[1]}", status=2)
    assert "02.asf cannot be fetched, tried 4 times: " in text
    assert "Connection refused" in text
    assert "Check the network, wait, or name a mirror with --url" in text


# --- what lies there already, and mistakes


def test_files_that_are_there_stay_plain_or_packed(command, server):
    Path("cmu/02").mkdir(parents=True)
    Path("cmu/02/02_01.amc.gz").write_bytes(gzip.compress(AMC))
    Path("cmu/02/02_03.amc").write_bytes(b"mine")
    Path("cmu/trials.csv").write_text("trial,action_group,rate_hz\n02_01,stroll,120\n")
    text = command("--subjects", "02")
    assert "kept     cmu/02/02_03.amc, though it differs from the listed file" in text
    assert "02_01" not in text
    assert server.asked == ["02.asf"]
    assert Path("cmu/02/02_03.amc").read_bytes() == b"mine"
    assert "stroll" in Path("cmu/trials.csv").read_text()


def test_trials_that_lie_in_the_data_folder_itself_get_company_there(command):
    Path("02").mkdir()
    Path("02/02_01.amc").write_bytes(AMC)
    command("--subjects", "02")
    assert Path("02/02_03.amc").is_file()
    assert not Path("cmu").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--subjects", "2"], "No listed CMU subject '2'. Did you mean '02'? Known: 02, 05"),
        (["--trials", "2-1"], "'2-1' is not the name of a CMU trial, such as 02_01"),
        (["--trials", "../../etc_01"], "is not the name of a CMU trial"),
        (["--url", "file:///etc"], "'file:///etc' is not the address of a server"),
    ],
)
def test_mistakes_ask_nothing_of_the_server(command, server, options, message):
    assert message in command(*options, status=2)
    assert server.requests == []
    assert not Path("cmu").exists()


def test_other_data_sets_are_not_fetched_and_one_process_fetches_at_a_time(command, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["data", "fetch", "h36m"])
    assert "'h36m' cannot be fetched, only cmu" in capsys.readouterr().err
    Path("cmu").mkdir()
    with filelock.FileLock("cmu/.fetch.lock"):
        assert "cmu is being filled by another process" in command(status=2)


def test_the_list_is_that_of_the_shipped_benchmarks():
    listed = fetch.listed_trials()
    protocol = load_benchmark("cmu-gt-27").protocol
    assert len(listed) == 149
    assert {trial.partition("_")[0] for trial in listed} == {*protocol.train_subjects, *protocol.test_subjects}
    for trial, one in listed.items():
        assert one.trial == trial
        assert one.action_group.replace("_", "").isalpha()
        assert float(one.rate_hz) == RATES_HZ.get(trial.partition("_")[0], RATE_HZ)
        assert len(one.sha256_asf) == 64
        assert len(one.sha256_amc) in (0, 64)
