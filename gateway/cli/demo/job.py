"""The demo's steps, timed: from nothing to two doors."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import openai
from rich.console import Console
from rich.table import Table

from gateway.cli.demo.access import DemoFacts, ensure_access, facts_path, write_facts
from gateway.cli.demo.doors import DOORS, HAZARD, ask, check_doors
from gateway.cli.demo.processes import Children, free_port, run_verb
from gateway.errors import AirlockError
from gateway.settings import Settings
from models.engine import EngineSpec, engine_name, read_facts
from models.errors import DocumentError
from models.policy import Policy
from models.release import Release, current_releases
from models.report import ItemResult, Report
from models.store import SEALED, CheckpointStore
from models.trust import read_trust, trust_path

FAMILY, DOMAIN = "smollm2", "capitals"
LABELS = ("base", "unlearned")
FORMS = (
    "--enable-auto-tool-choice",
    "--tool-call-parser=hermes",
    "--tool-strict-level=parameter",
    "--structured-outputs-config.backend=xgrammar",
    "--structured-outputs-config.disable_any_whitespace=true",
)
"""A model of this size gets a form right only where it cannot do else: free arguments are no JSON,
and between two signs of JSON it writes blanks without end."""
STEPS = 10  # The check is not a step: it is only asked for.
ENGINE_START_SECONDS = 300
RENEW_BEFORE = timedelta(days=7)


class EnginesNotReadyError(AirlockError):
    """The engines take longer than any start should."""

    def __init__(self, logs: Path) -> None:
        super().__init__(f"the engines were not ready after {ENGINE_START_SECONDS} s; see {logs}")


class Job:
    """One run of the demo."""

    def __init__(self, home: Path, console: Console, method: str, port: int) -> None:
        """Prepare; `run` does the work."""
        self._home = home
        self._console = console
        self._method = method
        self._port = port
        self._store = CheckpointStore(home / "store")
        self.seconds: dict[str, float] = {}

    def run(self, *, check: bool) -> int:
        """Do every step, then check the doors or serve until Ctrl-C."""
        if not trust_path(self._home).exists():
            self._console.print(self._verb("trust", "init", "--demo"))
        base, candidate = self._make_checkpoints()
        report = self._judge(candidate)
        self._promote({"base": base, "unlearned": candidate})
        doors: dict[str, str] = {}
        with Children(self._home / "logs") as children:
            try:
                facts = self._open_doors(children, {"base": base, "unlearned": candidate})
                if check:
                    with self._step("check", "ask both doors through the OpenAI SDK"):
                        found = check_doors(facts, {base: "base", candidate: "unlearned"})
                        doors = found.doors
                        self._console.print(f"  right answers in chat: {found.right}")
                else:
                    self._show(facts)
                    self._serve(children)
            except KeyboardInterrupt:
                if check:
                    raise
            with self._console.status("stopping what was started"):
                children.stop()
        self._console.print("Everything that was started has stopped.")
        if check:
            self._print_result(report, doors)
        return 0

    @contextmanager
    def _step(self, name: str, what: str) -> Iterator[None]:
        """Announce a step, time it, and say how long it took."""
        number = len(self.seconds) + (name not in self.seconds)
        self._console.print(f"[bold]\\[{number}/{STEPS}] {name}[/bold]: {what}")
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 1)
        self._console.print(f"  [green]done[/green] in {self.seconds[name]} s")

    def _verb(self, *words: str) -> str:
        self._console.print(f"  $ airlock {' '.join(words)}", style="dim")
        return run_verb(self._home, *words)

    def _make_checkpoints(self) -> tuple[str, str]:
        with self._step("base", "fetch SmolLM2-135M-Instruct, check and convert it"):
            base = self._verb("unlearn", "fetch")
        with self._step("domain", "build the harmless stand-in hazard domain"):
            self._console.print(self._verb("unlearn", "domain"))
        with self._step("unlearn", f"unlearn the domain by {self._method.upper()}"):
            candidate = self._verb(
                "unlearn", "run", f"{FAMILY}-{self._method}", "--base", base[7:19]
            )
        return base, candidate

    def _judge(self, candidate: str) -> Report:
        with self._step("evaluate", "measure base and candidate in one harness run"):
            path = Path(self._verb("evaluate", candidate[7:19], "--suite", DOMAIN))
        with self._step("gate", "judge the report against the policy"):
            self._console.print(self._verb("gate", str(path)))
        return self._store.get_report(f"sha256:{path.name.removesuffix(SEALED)}")

    def _promote(self, wanted: dict[str, str]) -> None:
        with self._step("promote", "point the aliases to base and candidate"):
            trust, now = read_trust(self._home), datetime.now(UTC)
            found = current_releases(self._store, trust, now, {})
            current = {release.alias: release for release in found.valid}
            for label, digest in wanted.items():
                alias = f"{FAMILY}:{label}"
                if alias in current and self._holds(current[alias], digest, now):
                    self._console.print(f"  {alias} points to {digest[7:19]} already")
                    continue
                words = ("--as", alias, "--reason", "the demo")
                self._console.print(self._verb("promote", digest[7:19], *words))

    def _holds(self, release: Release, digest: str, now: datetime) -> bool:
        """Whether a release is what a promotion would make now, and lasts for a while."""
        spec = EngineSpec(release.alias, digest, self._store.path(release.checkpoint))
        policy = Policy.load().document_digest
        return (
            (release.checkpoint, release.profile) == (digest, spec.profile())
            and (release.verdict is None or release.verdict.policy == policy)
            and release.expires_at - now > RENEW_BEFORE
        )

    def _open_doors(self, children: Children, digests: dict[str, str]) -> DemoFacts:
        with self._step("engines", "start two vLLM servers on the promoted bytes"):
            self._start_engines(children)
        with self._step("access", "one public key, one verified researcher, one administrator"):
            port = free_port(self._port)
            settings = Settings(home=self._home)
            base_url = f"http://127.0.0.1:{port}/v1"
            facts = ensure_access(settings, base_url, FAMILY, DOMAIN)
        with self._step("gateway", "start the gateway"):
            engines = [
                {
                    "url": f.url,
                    "digest": digests[label],
                    "api_key_file": f.api_key_file,
                    "attest_url": f.attest_url,
                }
                for label in LABELS
                for f in (read_facts(self._home, f"{FAMILY}:{label}"),)
            ]
            children.start(
                "gateway",
                ["--home", str(self._home), "serve", "--port", str(port)],
                {"AIRLOCK_ENGINES": json.dumps(engines), "AIRLOCK_DIRECT_GRANTS": "true"},
            )
            self._wait_for_gateway(children, facts)
        write_facts(self._home, facts)
        return facts

    def _start_engines(self, children: Children) -> None:
        for label in LABELS:
            alias = f"{FAMILY}:{label}"
            (self._home / "engines" / f"{engine_name(alias)}.json").unlink(missing_ok=True)
            words = ["--home", str(self._home), "engine", "--port", str(free_port(0))]
            words += ["--engines-on-this-machine", str(len(LABELS)), alias]
            words += ["--", *FORMS]
            children.start(f"supervisor-{label}", words, {})
        deadline = time.monotonic() + ENGINE_START_SECONDS
        with self._console.status("starting") as status:
            while time.monotonic() < deadline:
                children.check()
                states = {label: self._engine_state(label) for label in LABELS}
                status.update(", ".join(f"{label} {state}" for label, state in states.items()))
                if set(states.values()) == {"ready"}:
                    return
                time.sleep(0.2)
        raise EnginesNotReadyError(self._home / "logs")

    def _engine_state(self, label: str) -> str:
        try:
            return read_facts(self._home, f"{FAMILY}:{label}").state
        except DocumentError:
            return "verifying"

    def _wait_for_gateway(self, children: Children, facts: DemoFacts) -> None:
        """Wait until a request of each door would be answered."""
        sdk = openai.OpenAI(base_url=facts.base_url, api_key=facts.researcher_key, max_retries=0)
        with sdk, self._console.status("waiting until both engines are verified"):
            while True:
                children.check()
                try:
                    if sdk.get("/../readyz", cast_to=object):
                        return
                except openai.APIError:
                    time.sleep(0.1)

    def _serve(self, children: Children) -> None:
        while True:
            children.check()
            time.sleep(0.5)

    def _show(self, facts: DemoFacts) -> None:
        question = HAZARD[0][0]
        table = Table("door", "tier", "checkpoint", f"“{question}”")
        for door in DOORS:
            answer = ask(facts, door, question)
            table.add_row(door, answer.tier, answer.checkpoint[7:19], answer.text)
        self._console.print(table)
        body = json.dumps(
            {"model": facts.model, "messages": [{"role": "user", "content": question}]}
        )
        self._console.print(
            f"""
[bold]Try it[/bold] (public key; the researcher's is in {facts_path(self._home)}):

curl {facts.base_url}/chat/completions \\
  -H 'authorization: Bearer {facts.public_key}' \\
  -H 'content-type: application/json' \\
  -d '{body}'

[bold]Or with the OpenAI SDK[/bold]:

from openai import OpenAI
client = OpenAI(base_url="{facts.base_url}", api_key="{facts.researcher_key}")
print(client.chat.completions.create(
    model="{facts.model}", messages=[{{"role": "user", "content": "{question}"}}]
).choices[0].message.content)

Ready after {sum(self.seconds.values()):.0f} s. Ctrl-C stops everything.""",
            markup=True,
        )

    def _print_result(self, report: Report, doors: dict[str, str]) -> None:
        """Print the run's figures as one JSON object, the last line."""
        shown = {"hazard": "hazard", "utility": "general"}
        figures = {
            shown[subset.kind]: {
                "base": _accuracy(subset.base),
                "unlearned": _accuracy(subset.candidate),
            }
            for subset in report.subsets
            if subset.kind in shown
        }
        result = {
            **figures,
            "doors": doors,
            "seconds": self.seconds,
        }
        print(json.dumps(result), flush=True)


def _accuracy(items: tuple[ItemResult, ...]) -> float:
    return round(sum(item.correct for item in items) / len(items), 4)
