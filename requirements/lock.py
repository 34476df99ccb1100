"""Write the hash locks `requirements/*.txt` from `requirements/*.in`.

One resolution serves every plane, so that all of them also fit into one development environment;
each plane's lock is then the part of it that the plane needs. torch is pinned by hand below,
because its CPU build is found beside the package index, not in it.

What is locked already keeps its version, so that a new dependency moves nothing else; to move
everything to the newest versions, delete the locks first.

Run: `make lock` (needs `uv`).
"""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEPLOY = HERE.parent / "deploy"
PLANES = ("gateway", "engine", "unlearn", "dev", "tracing")
NEEDS_TORCH = ("engine", "unlearn")
# What torch itself imports; it is left out of the resolution, so its own list is repeated here.
TORCH_REQUIRES = "filelock\ntyping-extensions\nsetuptools\nsympy\nnetworkx\njinja2\nfsspec\n"
EXCLUDES = "torch\ntorchvision\ntorchaudio\ntorchcodec\n"
# The CPU build for CPython 3.11 on x86-64 Linux, which vLLM's CPU build asks for by this very
# version. It is published beside the package index; where pip does not find it, name PyTorch's own
# CPU index to pip (PIP_EXTRA_INDEX_URL).
TORCH = """torch==2.13.0+cpu \\
    --hash=sha256:6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b
"""


def compile_lock(sources: list[Path], output: Path, *extra: str) -> None:
    """Resolve `sources` into `output` with hashes, or end with the resolver's own message."""
    subprocess.run(
        [
            *(sys.executable, "-m", "uv", "pip", "compile", "--quiet"),
            *("--generate-hashes", "--no-header", "--python-version", "3.11"),
            *("--annotation-style", "line", "--excludes", str(HERE / ".excludes")),
            *extra,
            *(str(source) for source in sources),
            *("--output-file", str(output)),
        ],
        check=True,
    )


def locked_versions() -> set[str]:
    """Return `name==version` of all that is locked now, but for torch, which is pinned by hand."""
    text = "\n".join(
        lock.read_text() for plane in PLANES if (lock := HERE / f"{plane}.txt").exists()
    )
    return set(re.findall(r"^(?!torch==)[\w.-]+==\S+", text, flags=re.MULTILINE))


def pins(lock: Path) -> dict[str, str]:
    """Return each locked package's lines, hashes included, by its name."""
    blocks = re.split(r"\n(?=\S)", lock.read_text().strip())
    return {block.partition("==")[0]: block for block in blocks if "==" in block}


def gpu_job_lock() -> str:
    """Return the lock of what the GPU job needs and vLLM's own image may lack.

    That is what the offline job needs beyond the engine, whose GPU image has the rest.
    """
    engine = pins(HERE / "engine.txt")
    wanted = {n: lines for n, lines in pins(HERE / "unlearn.txt").items() if n not in engine}
    wanted |= pins(DEPLOY / "engine-gpu.txt")
    return "".join(f"{wanted[name]}\n" for name in sorted(wanted))


def main() -> None:
    """Lock everything together, then each plane within that resolution."""
    (HERE / ".excludes").write_text(EXCLUDES)
    torch_extra = HERE / ".torch.in"
    torch_extra.write_text(TORCH_REQUIRES)
    whole = HERE / ".all.txt"
    whole.write_text("\n".join(sorted(locked_versions())))
    try:
        compile_lock([*(HERE / f"{plane}.in" for plane in PLANES), torch_extra], whole)
        for plane in PLANES:
            lock = HERE / f"{plane}.txt"
            lock.unlink(missing_ok=True)
            sources = [HERE / f"{plane}.in"]
            if plane in NEEDS_TORCH:
                sources.append(torch_extra)
            compile_lock(sources, lock, "--constraint", str(whole))
            text = re.sub(r"^ {4}# via.*\n", "", lock.read_text(), flags=re.MULTILINE)
            lock.write_text(text + (TORCH if plane in NEEDS_TORCH else ""))
        (DEPLOY / "job-gpu.txt").write_text(gpu_job_lock())
    finally:
        for scratch in (HERE / ".excludes", torch_extra, whole):
            scratch.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
