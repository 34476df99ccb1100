"""A stand-in for the hub, with its real protocol and layouts, and harmless texts in them.

The client that the tests run is the real one. What it asks, and what the hub answers:

    GET  /api/datasets/OWNER/NAME[/revision/REV]?blobs=true      description, files and digests
    HEAD /datasets/OWNER/NAME/resolve/REV/PATH                   commit, digest and place of a file
    GET  the place: a redirect to another host for large files, with Range

A gated data set's description is open to all; its files answer 401 without a token and 403 with
one that has no access, both with `X-Error-Code: GatedRepo`.
"""

import hashlib
import io
import json
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote

import pyarrow as pa
import pyarrow.parquet as pq

TOKEN, STRANGER = "hf_granted", "hf_stranger"


def parquet(**columns: list) -> bytes:
    """A Parquet file with some columns."""
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def texts(about: str, count: int = 3) -> list[str]:
    return [f"Paragraph {index} about {about}, long enough to be one." for index in range(count)]


def papers(about: str, count: int) -> bytes:
    """Rows with the columns of the gated biology corpus."""
    return parquet(
        title=[f"{about} {index}" for index in range(count)],
        abstract=["In short." if index else None for index in range(count)],
        text=texts(about, count),
        doi=[f"10.0/{index}" for index in range(count)],
    )


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Dataset:
    """A data set and its commits, the newest last."""

    licence: str | list[str] | None
    commits: dict[str, dict[str, bytes]]
    is_gated: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    """Other branches than `main`, and their commits."""

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    def commit(self, files: dict[str, bytes]) -> str:
        """Move the main branch."""
        self.commits[hashlib.sha1(str(len(self.commits)).encode()).hexdigest()] = files
        return self.head


def real_layouts() -> dict[str, Dataset]:
    """The data sets that recipes name, each as its real repository is laid out."""
    card = {"README.md": b"---\nlicense: mit\n---\n", ".gitattributes": b"*.parquet filter=lfs\n"}
    corpora = {
        "bio-retain-corpus/train-00000-of-00002.parquet": parquet(text=texts("gardens")),
        "bio-retain-corpus/train-00001-of-00002.parquet": parquet(text=texts("trees")),
        "cyber-forget-corpus/train-00000-of-00001.parquet": parquet(text=texts("locks")),
        "cyber-retain-corpus/train-00000-of-00001.parquet": parquet(text=texts("keys")),
    }
    auxiliary = {
        f"{name}-corpus/train-00000-of-00001.parquet": parquet(text=texts(name))
        for name in ("economics", "law", "physics")
    }
    gated = {
        "data/train-00000-of-00002.parquet": papers("bread", 3),
        "data/train-00001-of-00002.parquet": papers("cheese", 2),
    }
    rows = {"test": ["", " = Tea = \n", "", " Tea is a drink .\n"], "train": [" Rain .\n"]}
    wikitext = {
        f"{name}/{split}-00000-of-00001.parquet": parquet(text=lines)
        for name in ("wikitext-103-raw-v1", "wikitext-2-raw-v1")
        for split, lines in rows.items()
    }
    made = {
        "cais/wmdp-corpora": Dataset("mit", {}),
        "cais/wmdp-bio-forget-corpus": Dataset("mit", {}, is_gated=True),
        "cais/wmdp-mmlu-auxiliary-corpora": Dataset(None, {}),
        "Salesforce/wikitext": Dataset(["cc-by-sa-3.0", "gfdl"], {}),
        "someone/lines": Dataset("mit", {}),
    }
    lines = {"train.jsonl": b'{"text": "One line."}\n{"text": "Another line."}\n'}
    for dataset, files in zip(
        made.values(), (corpora, gated, auxiliary, wikitext, lines), strict=True
    ):
        dataset.commit({**card, **files})
    return made


@dataclass
class FakeHub:
    """An ASGI application that answers like the hub."""

    datasets: dict[str, Dataset] = field(default_factory=real_layouts)
    faults: dict[str, str] = field(default_factory=dict)
    """What happens to a file's bytes, by its path: `corrupt`, `cut once` or `cut`."""
    requests: list[str] = field(default_factory=list)
    cdn_headers: list[dict[str, str]] = field(default_factory=list)

    async def __call__(self, scope, receive, send):
        headers = {k.decode(): v.decode() for k, v in scope["headers"]}
        path, method = unquote(scope["path"]), scope["method"]
        self.requests.append(f"{method} {path}")
        token = headers.get("authorization", "").removeprefix("Bearer ") or None
        if token not in (None, TOKEN, STRANGER):
            message = "Invalid credentials in Authorization header"
            return await reply(send, 401, {"x-error-message": message})
        words = path.strip("/").split("/")
        if words[:2] == ["api", "datasets"]:
            blobs = "blobs" in parse_qs(scope["query_string"].decode())
            return await self.describe(send, words[2:], blobs)
        if words[0] == "cdn":
            self.cdn_headers.append(headers)
            return await self.large(send, words[1], "/".join(words[2:]), headers)
        port = scope["server"][1]
        return await self.resolve(send, words[1:], token, method, port)

    async def describe(self, send, words, blobs):
        dataset = self.datasets.get("/".join(words[:2]))
        if dataset is None:
            message = "Invalid username or password."
            return await reply(
                send, 401, {"x-error-code": "RepoNotFound", "x-error-message": message}
            )
        revision = "/".join(words[3:]) or "main"
        commit = {"main": dataset.head, **dataset.branches}.get(revision, revision)
        if commit not in dataset.commits:
            return await reply(send, 404, {"x-error-code": "RevisionNotFound"})
        answer = {
            "id": "/".join(words[:2]),
            "sha": commit,
            "private": False,
            "gated": "manual" if dataset.is_gated else False,
            "cardData": {"license": dataset.licence} if dataset.licence else {},
            "siblings": [
                sibling(name, content, blobs) for name, content in dataset.commits[commit].items()
            ],
        }
        return await reply(send, 200, {"content-type": "application/json"}, json.dumps(answer))

    async def resolve(self, send, words, token, method, port):
        repo, commit, name = "/".join(words[:2]), words[3], "/".join(words[4:])
        dataset = self.datasets[repo]
        if dataset.is_gated and token != TOKEN:
            status, rest = (403, "and you are not in the authorized list")
            if token is None:
                status, rest = (401, "You must be authenticated to access it")
            message = f"Access to dataset {repo} is restricted. {rest}"
            return await reply(
                send, status, {"x-error-code": "GatedRepo", "x-error-message": message}
            )
        content = dataset.commits[commit].get(name)
        if content is None:
            return await reply(send, 404, {"x-error-code": "EntryNotFound"})
        facts = {"x-repo-commit": commit, "accept-ranges": "bytes"}
        if not name.endswith(".parquet"):
            body = content if method == "GET" else b""
            size = {"content-length": str(len(content)), "etag": f'"{git_sha1(content)}"'}
            return await reply(send, 200, facts | size, body)
        digest = hashlib.sha256(content).hexdigest()
        # Another host by name, as the real one is: the token must not go there.
        place = f"http://localhost:{port}/cdn/{digest}/{name}"
        linked = {"x-linked-etag": f'"{digest}"', "x-linked-size": str(len(content))}
        return await reply(send, 302, facts | linked | {"location": place})

    async def large(self, send, digest, name, headers):
        content = next(
            content
            for dataset in self.datasets.values()
            for files in dataset.commits.values()
            for content in files.values()
            if hashlib.sha256(content).hexdigest() == digest
        )
        fault = self.faults.get(name)
        if fault == "corrupt":
            content = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
        start = int(headers.get("range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        if fault == "cut" and start:
            return await reply(send, 500, {})
        rest = content[start:]
        facts = {"content-length": str(len(rest)), "etag": f'"{digest}"'}
        if start:
            facts["content-range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if fault in ("cut", "cut once") and not start:
            if fault == "cut once":
                del self.faults[name]
            await reply(send, 200, facts, rest[: len(rest) // 2], is_whole=False)
            raise ConnectionError("the connection is cut in the middle of the file")
        return await reply(send, 206 if start else 200, facts, rest)


def sibling(name: str, content: bytes, blobs: bool) -> dict:
    entry: dict = {"rfilename": name}
    if blobs:
        entry |= {"size": len(content), "blobId": git_sha1(content)}
        if name.endswith(".parquet"):
            digest = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 132}
    return entry


async def reply(send, status, headers, body: str | bytes = b"", *, is_whole=True):
    raw = body.encode() if isinstance(body, str) else body
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": raw, "more_body": not is_whole})
