"""`airlock unlearn corpus`: look at a corpus, or have the base model write one."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from models.cli.terminal import plain_console, printable
from unlearn.errors import CorpusError

if TYPE_CHECKING:
    from unlearn.corpora.writing import Writing, Written

SHOW_EXAMPLES = """\
Shows what is known of a corpus, never its texts.

examples:
  airlock unlearn corpus show builtin:capitals/forget
  airlock unlearn corpus show hub:wikitext --min-characters 50
  airlock unlearn corpus show hub:cais/wmdp-mmlu-auxiliary-corpora/physics-corpus
  HF_TOKEN=… airlock unlearn corpus show hub:cais/wmdp-bio-forget-corpus
  airlock unlearn corpus show file:my-corpus.jsonl
"""

WRITE_EXAMPLES = """\
Progress goes to standard error; standard output gets the corpus's digest. Run it again to go on
with what was broken off. The key comes from a file or an environment variable, never from here.

examples:
  airlock unlearn corpus write --base-url http://localhost:8000/v1 --model zephyr-7b-beta \\
      --topics topics.txt --prompt 'Write a paragraph about {topic}.' --per-topic 20 \\
      --out retain.jsonl
  airlock unlearn corpus write --base-url https://models.example/v1 --key-file key --model base \\
      --api completions --prompt 'An encyclopedia article about {topic}:' --topics topics.txt \\
      --per-topic 5 --exclude items-wording.txt --out forget.jsonl
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of `airlock unlearn corpus`."""
    actions = parser.add_subparsers(dest="corpus_action", required=True)
    kind = argparse.RawDescriptionHelpFormatter
    show = actions.add_parser(
        "show",
        help="rows, digest, revision and lengths",
        epilog=SHOW_EXAMPLES,
        formatter_class=kind,
    )
    show.add_argument(
        "spec", help="hub:OWNER/NAME[/CONFIG][/SPLIT][@REVISION], file:PATH, builtin:…"
    )
    show.add_argument("--min-characters", type=int, default=0, help="leave shorter texts out")
    add_hub_token(show)
    write = actions.add_parser(
        "write", help="have a model write one", epilog=WRITE_EXAMPLES, formatter_class=kind
    )
    _add_write_arguments(write)


def _add_write_arguments(write: argparse.ArgumentParser) -> None:
    write.add_argument("--base-url", required=True, help="of an OpenAI-compatible endpoint, …/v1")
    write.add_argument("--model", required=True)
    write.add_argument("--api", choices=("chat", "completions"), default="chat")
    write.add_argument("--topics", type=Path, required=True, help="a file, one topic a line")
    write.add_argument("--prompt", required=True, help="with {topic} where the topic goes")
    write.add_argument("--per-topic", type=int, required=True, metavar="N", help="texts of each")
    write.add_argument("--out", type=Path, required=True, metavar="FILE.jsonl")
    write.add_argument(
        "--exclude",
        type=Path,
        metavar="FILE",
        help="regular expressions, one a line; a text that one matches in any case is dropped",
    )
    write.add_argument("--temperature", type=float, default=0.7, help="default: %(default)s")
    write.add_argument("--top-p", type=float, default=1.0, help="default: %(default)s")
    write.add_argument("--max-tokens", type=int, default=256, help="default: %(default)s")
    write.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    write.add_argument("--concurrency", type=int, default=8, help="default: %(default)s")
    write.add_argument("--licence", help="of the texts, for the manifest")
    key = write.add_mutually_exclusive_group()
    key.add_argument("--key-file", type=Path, help="a file with the endpoint's key")
    key.add_argument("--key-env", metavar="NAME", help="an environment variable with the key")


def add_hub_token(parser: argparse.ArgumentParser) -> None:
    """Declare the word that `hub_token` reads."""
    parser.add_argument(
        "--hub-token-file",
        type=Path,
        help="a file with the hub's access token, for gated corpora (default: $HF_TOKEN)",
    )


def hub_token(args: argparse.Namespace) -> str | None:
    """Return the hub's access token, or None when neither the file nor $HF_TOKEN gives one.

    Raises:
        CorpusError: The file cannot be read or is empty.
    """
    if args.hub_token_file is not None:
        return _secret(args.hub_token_file)
    return os.environ.get("HF_TOKEN") or None


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    if args.corpus_action == "show":
        show(args)
    else:
        print(write(args).digest)
    return 0


def show(args: argparse.Namespace) -> None:
    """Print what is known of a corpus."""
    from unlearn.corpora import read_corpus
    from unlearn.corpora.lengths import histogram

    corpus = read_corpus(
        args.spec,
        cache=args.home / "cache",
        token=hub_token(args),
        min_characters=args.min_characters,
    )
    facts = {
        "corpus": corpus.spec,
        "texts": f"{len(corpus.texts):,}",
        "characters": f"{sum(map(len, corpus.texts)):,}",
        "digest": corpus.digest,
        "revision": corpus.revision or "none",
        "licence": corpus.licence or "not stated",
    }
    for name, value in facts.items():
        print(f"{name:<10}  {printable(value)}")
    print("\ncharacters       texts")
    for row in histogram(corpus.texts):
        print(row)


def write(args: argparse.Namespace) -> "Written":
    """Write a corpus under a progress bar."""
    import re

    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from unlearn.corpora.endpoint import open_client
    from unlearn.corpora.writer import TopicDone, write_corpus

    lines = _lines(args.exclude) if args.exclude else []
    try:
        patterns = [re.compile(line, re.IGNORECASE) for line in lines]
    except re.error as error:
        raise CorpusError(f"file:{args.out}", f"--exclude: {error}") from error
    writing = _writing(args, lines)
    key = os.environ.get(args.key_env) if args.key_env else None
    if args.key_file is not None:
        key = _secret(args.key_file)
    console = plain_console(stderr=True, soft_wrap=False)
    columns = (
        TextColumn("topics"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[texts]} texts, {task.fields[dropped]} dropped"),
    )
    client = open_client(key, args.concurrency)
    with client, Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=len(writing.topics), texts=0, dropped=0)
        counts = {"texts": 0, "dropped": 0}

        def on_topic(done: TopicDone) -> None:
            counts["texts"] += len(done.texts)
            counts["dropped"] += done.dropped
            progress.update(bar, advance=1, texts=counts["texts"], dropped=counts["dropped"])

        return write_corpus(
            writing,
            args.out,
            client,
            patterns=patterns,
            concurrency=args.concurrency,
            licence=args.licence,
            on_topic=on_topic,
        )


def _writing(args: argparse.Namespace, excluded: list[str]) -> "Writing":
    from models.documents import digest_of
    from unlearn.corpora.writing import Writing

    address = urlsplit(args.base_url)
    topics = tuple(dict.fromkeys(_lines(args.topics)))
    problems = {
        "--base-url is not http(s)://…": address.scheme not in ("http", "https"),
        "--base-url holds a password; use --key-file": address.username is not None,
        "--topics holds none": not topics,
        "--prompt has no {topic}": "{topic}" not in args.prompt,
        "--per-topic and --concurrency are 1 or more": min(args.per_topic, args.concurrency) < 1,
    }
    for problem, is_so in problems.items():
        if is_so:
            raise CorpusError(f"file:{args.out}", problem)
    return Writing(
        base_url=args.base_url.rstrip("/"),
        api=args.api,
        model=args.model,
        prompt=args.prompt,
        topics=topics,
        per_topic=args.per_topic,
        seed=args.seed,
        temperature=args.temperature,
        top_p=args.top_p,
        max_tokens=args.max_tokens,
        exclude=digest_of(excluded) if excluded else None,
    )


def _lines(path: Path) -> list[str]:
    """Return a file's lines, without empty ones and those that begin with `#`."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise CorpusError(f"file:{path}", error.strerror or "cannot be read") from error
    return [line for line in lines if line and not line.startswith("#")]


def _secret(path: Path) -> str:
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise CorpusError(f"file:{path}", error.strerror or "cannot be read") from error
    if not secret:
        raise CorpusError(f"file:{path}", "is empty; a token was expected")
    return secret
