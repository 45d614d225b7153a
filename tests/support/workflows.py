"""The workflow's code in a folder of its own, run by the real Snakemake."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from studies import ROOT

CODE = ("Snakefile", "config.yaml", "rules", "scripts", "schemas", "envs", "profiles")


class Workflow:
    """A folder with the workflow's code and a configuration of its own, laid over config.yaml."""

    program = ("-m", "snakemake")  # what Python runs

    def __init__(self, folder: Path, settings: dict):
        self.folder = folder
        self.settings = settings

    @classmethod
    def fresh(cls, folder: Path, settings: dict) -> "Workflow":
        folder.mkdir(parents=True)
        for name in CODE:
            source = ROOT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, folder / name)
        return cls(folder, settings)

    def copy(self, folder: Path) -> "Workflow":
        """The same state, times of files included, somewhere else."""
        shutil.copytree(self.folder, folder)
        return Workflow(folder, yaml.safe_load(yaml.safe_dump(self.settings)))

    def start(self, *arguments: str, configured: bool = True, **environment: str) -> subprocess.Popen:
        """Start it, in a process group of its own; what it prints goes to a pipe.

        With the configuration as it lies in mine.yaml where it is not to be written anew (`configured`).
        """
        if configured:
            mine = self.folder / "mine.yaml"
            mine.write_text(yaml.safe_dump(self.settings, sort_keys=False))
        command = [sys.executable, *self.program, "--configfile", "mine.yaml", *arguments]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("SNAKEMAKE")}
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=inherited | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def snakemake(
        self, *arguments: str, configured: bool = True, **environment: str
    ) -> subprocess.CompletedProcess:
        process = self.start(*arguments, configured=configured, **environment)
        output, errors = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def run(self, *arguments: str, cores: int = 2, **environment: str) -> str:
        """Run it; what it printed. Fails if the run does."""
        done = self.snakemake("--cores", str(cores), *arguments, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def refused(self, *arguments: str) -> str:
        """Run it, expecting it to fail; what it printed."""
        done = self.snakemake("--cores", "2", *arguments)
        assert done.returncode != 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def planned(self, *arguments: str) -> dict[str, int]:
        """Jobs that a dry run plans, by rule; empty where there is nothing to be done."""
        done = self.snakemake("-n", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        statistics = re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE)
        jobs = {rule: int(count) for rule, count in statistics if rule not in ("all", "total")}
        assert jobs or "Nothing to be done" in done.stdout + done.stderr
        return jobs

    def append(self, path: str, text: str) -> None:
        with open(self.folder / path, "a") as file:
            file.write(text)

    @property
    def tiny(self) -> dict:
        return self.settings["experiments"]["tiny"]

    def csv_files(self) -> dict[str, bytes]:
        results = sorted((self.folder / "results").rglob("*.csv"))
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in results}
