"""Download the CMU motion capture database: missing files only, checked, resuming an interrupted download.

`cmu_trials.csv` lists the trials of the shipped benchmarks, with their action and the SHA-256 of their files. It is
taken of the text with plain line ends, since public copies differ in these. Trials without a SHA-256 were truncated in
the available copy; they are only parsed once, to check that they are complete.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import http.client
import io
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import filelock

from bench.data.cmu import read_trial
from bench.data.mocap.acclaim import read_figure
from bench.system import paths
from bench.system.errors import BenchError, UnwritableError, unknown
from bench.system.progress import say

SITE = "http://mocap.cs.cmu.edu"
ACKNOWLEDGEMENT = (
    "The data used in this project was obtained from mocap.cs.cmu.edu. The database was created with funding from NSF "
    "EIA-0196217."
)

ATTEMPTS = 4  # per file
PATIENCE = 20.0  # seconds without data until a connection is dropped
PAUSE = 1.0  # seconds before the second attempt; doubles with each
CHUNK = 1 << 16


@dataclass(frozen=True)
class Listed:
    """One line of `cmu_trials.csv`. sha256: of motion and skeleton, empty if unknown."""

    trial: str
    action_group: str
    rate_hz: str
    sha256_amc: str
    sha256_asf: str


def listed_trials() -> dict[str, Listed]:
    """The trials of the shipped benchmarks, by name."""
    text = Path(__file__).with_name("cmu_trials.csv").read_text(encoding="utf-8")
    return {row["trial"]: Listed(**row) for row in csv.DictReader(io.StringIO(text))}


def fetch_cmu(root: Path, subjects: Sequence[str] = (), trials: Sequence[str] = (), url: str = SITE) -> None:
    """Download missing trials into `cmu/` below `root`, and write `cmu/trials.csv` if it is missing.

    subjects: all listed trials of these subjects; trials: exactly these, listed or not; neither: all listed trials.
    Progress is printed on standard error, one line per file. Raises BenchError for an invalid name, if the server
    cannot be reached, and at the end for files that the server does not have or that failed the check. Files that
    arrived are kept, and the same call resumes.
    """
    if not re.match(r"https?://", url):
        raise BenchError(f"{url!r} is not the address of a server: it should begin with http:// or https://")
    wanted = _chosen(subjects, trials)
    folder = _folder(root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableError(f"{paths.shown(folder)} cannot be made: {error.strerror or error}") from error
    try:
        with filelock.FileLock(folder / ".fetch.lock", timeout=0):
            _list_trials(folder / "trials.csv")
            failures = _fetch_all(folder, wanted, url.rstrip("/"))
    except filelock.Timeout:
        raise BenchError(f"{paths.shown(folder)} is being filled by another process; wait for it or stop it") from None
    say(ACKNOWLEDGEMENT)
    if failures:
        raise BenchError(
            f"{len(failures)} of {len(wanted)} trials were not fetched:\n  " + "\n  ".join(failures.values())
        )


def _chosen(subjects: Sequence[str], trials: Sequence[str]) -> dict[str, Listed]:
    known = listed_trials()
    of_subjects = {trial.partition("_")[0] for trial in known}
    for subject in subjects:
        if subject not in of_subjects:
            raise unknown("listed CMU subject", subject, of_subjects)
    for trial in trials:
        if not re.fullmatch(r"\d{2,3}_\d{2,3}", trial):
            raise BenchError(f"{trial!r} is not the name of a CMU trial, such as 02_01")
    if not subjects and not trials:
        return known
    chosen = {trial: one for trial, one in known.items() if trial.partition("_")[0] in subjects}
    skeletons = {trial.partition("_")[0]: one.sha256_asf for trial, one in known.items()}
    for trial in trials:
        chosen[trial] = known.get(trial) or Listed(trial, "", "", "", skeletons.get(trial.partition("_")[0], ""))
    return dict(sorted(chosen.items(), key=lambda item: [int(part) for part in item[0].split("_")]))


def _folder(root: Path) -> Path:
    """`cmu` below the data folder, or the data folder itself if it already contains trials."""
    own = not (root / "cmu").is_dir() and any(root.glob("*/*_*.amc*"))
    return root if own else root / "cmu"


def _list_trials(path: Path) -> None:
    """Write actions and sampling rates for the reader; an existing list is kept."""
    if not path.is_file():
        lines = [f"{one.trial},{one.action_group},{one.rate_hz}\n" for one in listed_trials().values()]
        paths.write_text(path, "trial,action_group,rate_hz\n" + "".join(lines))


# --- file by file


def _fetch_all(folder: Path, wanted: dict[str, Listed], url: str) -> dict[str, str]:
    """Fetch skeletons and motions. Returns what went wrong, by trial; a trial needs its subject's skeleton."""
    failures: dict[str, str] = {}
    failed: dict[Path, str] = {}
    there = 0
    for number, (trial, one) in enumerate(wanted.items(), start=1):
        subject = trial.partition("_")[0]
        asf, amc = folder / subject / f"{subject}.asf", folder / subject / f"{trial}.amc"
        for path, sha256 in ((asf, one.sha256_asf), (amc, one.sha256_amc)):
            if found := _already(path):
                there += path == amc
                if path == amc and sha256 and _digest(found) != sha256:
                    say(f"kept     {paths.shown(found)}, though it differs from the listed file")
                continue
            if path not in failed:
                try:
                    _fetch(f"{url}/subjects/{subject}/{path.name}", path, sha256, asf)
                    size = path.stat().st_size / 1e6
                    say(f"fetched  {paths.shown(path)}  {size:.1f} MB  (trial {number} of {len(wanted)})")
                except NotFetchedError as error:
                    failed[path] = str(error)
            if path in failed:
                failures[trial] = f"{trial}: {failed[path]}"
                break
    say(f"{len(wanted) - len(failures)} of {len(wanted)} trials in {paths.shown(folder)}, {there} were there before")
    return failures


def _already(path: Path) -> Path | None:
    """The file, plain or packed, if it is there."""
    return next((one for one in (path, path.with_name(f"{path.name}.gz")) if one.is_file()), None)


def _digest(path: Path) -> str:
    """SHA-256 of a text with plain line ends, unpacked."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()


class NotFetchedError(Exception):
    """One file could not be downloaded; others may be."""


def _fetch(address: str, path: Path, sha256: str, asf: Path) -> None:
    """Download and check one file. A partial download is kept in a .part file beside it."""
    part = path.with_name(f"{path.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    resumed = part.is_file()
    _download(address, part)
    problem = _problem(part, sha256, asf)
    if problem and resumed:  # the partial file may be of another version: start again
        part.unlink()
        _download(address, part)
        problem = _problem(part, sha256, asf)
    if problem:
        part.unlink()
        raise NotFetchedError(f"{address} failed the check and was deleted: {problem}")
    paths.publish(part, path)


def _problem(part: Path, sha256: str, asf: Path) -> str:
    """What is wrong with a downloaded file; empty if its SHA-256 is the listed one, or else if it can be read."""
    if sha256:
        found = _digest(part)
        return "" if found == sha256 else f"SHA-256 {found}, expected {sha256}"
    try:
        if part.name.endswith(".asf.part"):
            read_figure(part)
        else:
            read_trial(asf, part)
    except BenchError as error:
        return str(error)
    return ""


def _download(address: str, part: Path) -> None:
    """Download a file, retrying and resuming after interruptions.

    Raises NotFetchedError if the server does not have it, BenchError if it cannot be reached or does not answer.
    """
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            return _receive(address, part)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # no bytes follow those we have: complete, or another version
                return
            if error.code < 500 and error.code != 429:
                raise NotFetchedError(f"{address} is not available: {error.code} {error.reason}") from None
            reason = f"{error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:  # no network, time-outs, broken connections
            reason = str(getattr(error, "reason", "") or error) or type(error).__name__
    raise BenchError(
        f"{address} cannot be fetched, tried {ATTEMPTS} times: {reason}. Check the network, wait, or name a mirror "
        "with --url; the same command resumes"
    )


def _receive(address: str, part: Path) -> None:
    """One attempt: append to the partial file, or start again if the server sends the whole file."""
    have = part.stat().st_size if part.is_file() else 0
    headers = {"User-Agent": "bench"} | ({"Range": f"bytes={have}-"} if have else {})
    request = urllib.request.Request(address, headers=headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        appending = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if response.status == 206 and not appending:
            part.unlink()
            raise http.client.HTTPException("the server sent another part than requested")
        received = 0
        with part.open("ab" if appending else "wb") as stream:
            for chunk in _chunks(response):
                stream.write(chunk)
                received += len(chunk)
    promised = response.headers.get("Content-Length")
    if promised is not None and received != int(promised):
        raise http.client.HTTPException(f"the connection ended after {received} of {promised} bytes")


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while chunk := response.read(CHUNK):
        yield chunk
