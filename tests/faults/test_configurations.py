"""Whatever a configuration says: the right plan, or one sentence about the first thing that is wrong."""

import copy
import pprint
import re
import resource
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import yaml
from hypothesis import HealthCheck, given, settings
from snakemake.utils import update_config
from studies import ROOT
from workflows import Workflow

from fusionscope.errors import InputError
from machinery.settings import read_settings, resolve_experiments
from machinery.study import ENTRIES_OF, Study

from .configurations import configurations
from .tally import RIGHT, SENTENCE, TRACEBACK, Tally, tries

SECONDS, MEMORY = 2, 2**30  # that planning may take, beyond what the process has already
LONGEST = 1000  # characters of a sentence, which may name five files
# Of libraries, not of ours: no reader of a configuration knows what they mean.
JARGON = re.compile(r"Input should|validation error|type object|NoneType|<class '|object at 0x|\[type=|Errno")


def plan(config: object) -> list[str]:
    """All files that a configuration asks for, and what is looked up on the way to them."""
    study = Study.read(resolve_experiments(read_settings(config)), lambda path: False)
    files = [*study.results(), *study.all_measurements()]
    for pattern in ("experiment", "trained", "parent", "fusion", "model", "plot", "fused"):
        re.compile(getattr(study, f"{pattern}_pattern")())
    study.check_own_code()
    study.check_image_folders()
    study.check_weights(lambda path: False)
    for name, experiment in study.experiments.items():
        seed, model = experiment.seeds[0], experiment.models[-1]
        fusion = (experiment.fusions or ["parent_1"])[0]
        job = SimpleNamespace(experiment=name, seed=seed, model=model, parent=1, fusion=fusion)
        job.dataset = Path(experiment.data).stem
        job.plot = next(iter(study.plots(name)), None)
        study.data_source(job)
        for rule in ENTRIES_OF:
            if (rule != "fuse" or experiment.fusions) and (rule != "plot" or job.plot):
                study.code(rule)(job)
    return files


@contextmanager
def guarded() -> Iterator[None]:
    """Ends with an error what takes too long or too much memory."""

    def too_long(signum: int, frame: object) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    signal.signal(signal.SIGALRM, too_long)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)


def outcome(config: object) -> tuple[str, str]:
    """What became of it, and what was said."""
    try:
        with guarded():
            plan(config)
    except InputError as error:
        said = str(error)
        plain = "\n" not in said and len(said) < LONGEST and not JARGON.search(said) and said.isprintable()
        return (SENTENCE if plain else TRACEBACK), said
    except Exception:
        return TRACEBACK, traceback.format_exc(limit=-3)[-800:]
    return RIGHT, ""


def drawn(count: int) -> settings:
    """So many, and the same ones each time."""
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def test_every_configuration_is_planned_or_refused_in_one_sentence(record_property):
    tally = Tally("configurations")

    @drawn(tries(2000, 300))
    @given(configurations())
    def one(config: object) -> None:
        found, said = outcome(config)
        tally.add(found, f"{said}\n{pprint.pformat(config)[:2000]}")

    one()
    assert tally.counts[RIGHT] > tally.counts.total() / 20  # they are not all refused at the first key
    tally.end(record_property)


def as_file(config: object) -> str | None:
    """A configuration as the text of a file, if YAML can say it."""
    if not isinstance(config, dict):
        return None
    try:
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        return text if repr(yaml.safe_load(text)) == repr(config) else None
    except (yaml.YAMLError, ValueError, TypeError):
        return None


def laid_over_ours(config: dict) -> dict:
    shipped = yaml.safe_load((ROOT / "config.yaml").read_text())
    update_config(shipped, copy.deepcopy(config))
    return shipped


def sample(count: int) -> list[str]:
    """Files with configurations of every outcome, among the first that are drawn."""
    texts: dict[str, str] = {}

    @drawn(10 * count)
    @given(configurations())
    def one(config: object) -> None:
        text = as_file(config)
        if text is not None and len(text) < 20_000:
            _, said = outcome(laid_over_ours(yaml.safe_load(text)))
            texts.setdefault(said or text, text)

    one()
    return list(texts.values())[:count]


RAW = {  # what YAML cannot be made of, or not of a configuration
    "nothing": b"",
    "a list": b"- a\n",
    "a tab": b"run:\n\t- tiny\n",
    "unclosed": b"run: [tiny\n",
    "code": b"run: !!python/object:os.system x\n",
    "itself": b"run: &a [*a]\n",
    "byte order mark, Windows' line ends": b"\xef\xbb\xbfrun: [digits_vgg11]\r\n",
}


def test_the_real_command_says_the_same(tmp_path, record_property):
    tally = Tally("configurations, by the command")
    workflow = Workflow.fresh(tmp_path / "workflow", {})
    files = [text.encode() for text in sample(tries(15, 3))] + list(RAW.values())[: tries(len(RAW), 2)]
    for content in files:
        (workflow.folder / "mine.yaml").write_bytes(content)
        done = workflow.snakemake("-n", "--quiet", configured=False)
        printed = " ".join((done.stdout + done.stderr).split())
        config = yaml.safe_load(content) if content not in RAW.values() else None
        found, said = outcome(laid_over_ours(config)) if isinstance(config, dict) else (None, "")
        failed = "Traceback" in printed or (
            done.returncode and not re.search(r"WorkflowError|Error", printed)
        )
        if found == RIGHT:
            failed |= done.returncode != 0
        if found == SENTENCE:
            failed |= " ".join(said.split()) not in printed.replace(str(workflow.folder), str(Path.cwd()))
        answer = RIGHT if done.returncode == 0 else SENTENCE
        tally.add(TRACEBACK if failed else answer, f"{said}\n{printed[-600:]}\n{content.decode()[:2000]}")
    tally.end(record_property)
