"""Show where the processor time goes: the worker's by py-spy, the front end's by the JVM's recorder.

    python -m benchmark.tune.profile_server                     30 seconds of single tweets on 64 connections
    python -m benchmark.tune.profile_server --kind bulk --connections 8 --seconds 60

Starts a server of its own with the project's settings and archive, answer cache off. Prints two tables: share of
samples with a function on top (worker: also native code), and with it anywhere on the stack. Needs py-spy and a JDK
(jcmd, jfr); where one is missing, its half is left out.
"""

from __future__ import annotations

import argparse
import collections
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmark.engines.tweets import data_folder, read_tweets
from benchmark.report.report import table
from benchmark.servers.end_to_end import BULK, Bodies, Case, LoadError, closed_loop, measure
from benchmark.servers.profiles import NO_CACHE, our_profile
from benchmark.servers.server import Server, end_as_interrupted, running
from ops.paths import ROOT
from ops.torchserve.instance import ServerError
from ops.torchserve.java import JavaError

RATE_HZ = 100
SHOWN = 12
FRAME = re.compile(r"^\s+([\w.$/<>]+(?:\([^)]*\))?)\s*(?:line:.*)?$")
# On top of a stack these wait for work: no processor time.
JAVA_WAITS = re.compile(r"epollWait|EPoll\.wait|park|Object\.wait|read0|readBytes|waitForProcessExit")
WORKER_WAITS = re.compile(r"^(recv|poll|epoll_wait|select|nanosleep) ")
ADDRESS = re.compile(r"^0x[0-9a-f]+ ")  # native code without a name: only its library is told


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Profile once; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=("single", "bulk", "grpc"), default="single")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args(arguments)
    work = root / "build" / "profile"
    tweets = read_tweets(data_folder(root))
    bodies = Bodies.write(work / "bodies", tweets.distinct, ())
    case = Case(options.kind, options.connections, options.seconds)
    try:
        with running(our_profile("profiled", root, work / "server", NO_CACHE)) as server:
            measure(Case("single", 64, 5.0).load(server, bodies, 0))
            found, stacks, events = _profile(server, case, bodies, work)
    except (ServerError, LoadError, JavaError) as error:
        print(f"profile: {error}", file=sys.stderr)
        return 1
    each = BULK if case.kind == "bulk" else 1
    print(
        f"{found['tweets_per_s']:.0f} tweets/s ({each} a request), processor time a tweet: front end "
        f"{found['front_end_cpu_ms_per_tweet']:.3f} ms, worker {found['worker_cpu_ms_per_tweet']:.3f} ms"
    )
    for name, samples in (("worker", stacks), ("front end", events)):
        if samples:
            print(f"\n{name}: {len(samples)} samples\n\n{shares(samples)}")
    return 0


def _profile(
    server: Server, case: Case, bodies: Bodies, work: Path
) -> tuple[dict[str, float], list[list[str]], list[list[str]]]:
    """Load the server while both recorders run; return the load's figures and the stacks, outermost frame first."""
    raw, recording = work / "worker.txt", work / "front_end.jfr"
    for path in (raw, recording):
        path.unlink(missing_ok=True)
    py_spy, jcmd = shutil.which("py-spy", path=str(Path(sys.executable).parent)), shutil.which("jcmd")
    with ThreadPoolExecutor(2) as pool:
        load = pool.submit(closed_loop, server, case, bodies, 0)
        time.sleep(1.0)
        if jcmd:
            start = ["JFR.start", "name=bench", "settings=profile", f"filename={recording}"]
            subprocess.run([jcmd, str(server.java_pid), *start], stdout=subprocess.DEVNULL, check=False)
        if py_spy:
            duration = str(max(1, round(case.seconds - 2)))
            command = [py_spy, "record", "--native", "--format", "raw", "--rate", str(RATE_HZ), "--duration", duration]
            command += ["--output", str(raw), "--pid", str(server.worker_pids()[0])]
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        found = load.result()
        if jcmd:
            stop = [jcmd, str(server.java_pid), "JFR.stop", "name=bench"]
            subprocess.run(stop, stdout=subprocess.DEVNULL, check=False)
    stacks = list(_py_spy_stacks(raw)) if raw.is_file() else []
    return found, stacks, list(_jfr_stacks(recording)) if recording.is_file() else []


def _py_spy_stacks(path: Path) -> Iterable[list[str]]:
    """Yield the stacks of the threads that do not wait for a request."""
    for line in path.read_text(encoding="utf-8").splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [ADDRESS.sub("", re.sub(r":\d+\)$", ")", frame)) for frame in stack.split(";")]
        if not WORKER_WAITS.match(frames[-1]):
            yield from [frames] * int(count)


def _jfr_stacks(path: Path) -> Iterable[list[str]]:
    """Yield the stacks of running threads; those that wait in the kernel are no processor time."""
    jfr = shutil.which("jfr")
    if jfr is None:
        return
    command = [jfr, "print", "--events", "jdk.ExecutionSample,jdk.NativeMethodSample", "--stack-depth", "40", str(path)]
    text = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False).stdout
    for event in text.split("\n}\n"):
        _, _, trace = event.partition("stackTrace = [")
        frames = [found[1].split("(")[0] for line in trace.splitlines() if (found := FRAME.match(line))]
        if frames and not JAVA_WAITS.search(frames[0]):
            yield list(reversed(frames))


def shares(samples: Sequence[Sequence[str]]) -> str:
    """Return two tables: functions on top of the stack, and anywhere on it."""
    top = collections.Counter(stack[-1] for stack in samples)
    anywhere = collections.Counter(frame for stack in samples for frame in set(stack))
    parts = []
    for title, counter in (("on top", top), ("on the stack", anywhere)):
        rows = [[name, f"{100 * count / len(samples):.1f} %"] for name, count in counter.most_common(SHOWN)]
        parts.append(table([title, "of samples"], rows))
    return "\n\n".join(parts)


if __name__ == "__main__":
    end_as_interrupted()
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted; the server is stopped", file=sys.stderr)
        sys.exit(130)
