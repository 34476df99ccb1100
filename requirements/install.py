"""Make the virtual environment from the hash locks, with the standard library alone.

The stamp is written last and names the locks' digest, so an interrupted installation is done again
and a finished one is not. It also holds the seconds that the installation took, which the demo
lists with its own steps.
"""

import hashlib
import itertools
import subprocess
import sys
import time
import venv
from pathlib import Path

COMPILING = ("-q", "-j", "0", "-x", "/tests?/|/testing/|/transformers/models/")


def run_with_spinner(words: list[str], label: str, log: Path) -> int:
    """Run `words` with its output in `log`; show a spinner and the seconds so far on a terminal."""
    started = time.monotonic()
    with log.open("ab") as sink, subprocess.Popen(words, stdout=sink, stderr=sink) as process:
        for frame in itertools.cycle("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"):
            try:
                status = process.wait(timeout=0.1)
            except subprocess.TimeoutExpired:
                if sys.stdout.isatty():
                    print(
                        f"\r{frame} {label} {time.monotonic() - started:4.0f} s", end="", flush=True
                    )
                continue
            break
    if sys.stdout.isatty():
        print("\r\033[K", end="")
    return status


def main(target: Path, locks: list[Path]) -> int:
    """Install `locks` and this project into `target`; return a process exit status."""
    if sys.version_info[:2] != (3, 11):
        have = ".".join(map(str, sys.version_info[:2]))
        print(
            f"error: the locks are for Python 3.11, this is {have}. "
            "Run `make PYTHON=/path/to/python3.11 …`.",
            file=sys.stderr,
        )
        return 2
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in locks)).hexdigest()
    stamp = target / ".complete"
    if stamp.exists() and stamp.read_text().split()[:1] == [digest]:
        stamp.touch()
        return 0
    started = time.monotonic()
    print(f"Making {target} from {len(locks)} hash locks (3.5 GB, a minute or two) …", flush=True)
    stamp.unlink(missing_ok=True)
    venv.EnvBuilder(with_pip=True, clear=True).create(target)
    log = target / "install.log"
    pip = [str(target / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    # The locks are complete, so pip neither resolves nor adds anything: --no-deps. It would also
    # compile on one processor alone; without byte code an engine needs half a minute more to start.
    # Packages' own tests, and the hundreds of architectures of which one is loaded, can wait.
    install = [*pip, "install", "--no-deps", "--no-compile", "--no-input"]
    requirements = [word for lock in locks for word in ("--requirement", str(lock))]
    for label, words in (
        ("installing the locked packages", [*install, "--require-hashes", *requirements]),
        ("installing airlock", [*install, "--no-build-isolation", "--editable", "."]),
        ("compiling", [pip[0], "-m", "compileall", *COMPILING, str(target / "lib")]),
    ):
        status = run_with_spinner(words, label, log)
        # Some packages ship templates that are no Python; what cannot be compiled stays as it is.
        if status and label != "compiling":
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            print(f"{tail}\nerror: {label} failed (see {log}); run it again.", file=sys.stderr)
            return status
    seconds = time.monotonic() - started
    stamp.write_text(f"{digest} {seconds:.1f}\n")
    print(f"Made {target} in {seconds:.0f} s.", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), [Path(lock) for lock in sys.argv[2:]]))
