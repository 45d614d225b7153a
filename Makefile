# make results: run the workflow.  make test: run the tests.  Each sets up .venv first, once.
PYTHON ?= python3
CORES ?= all
ARGS ?=

BIN := .venv/bin
READY := .venv/ready

.PHONY: results test test-slow test-slurm faults lint docs report lock

results: $(READY)
	$(BIN)/snakemake --cores $(CORES) $(ARGS)

test: $(READY)
	$(BIN)/pytest -n auto -m "not slow and not default_run and not slurm and not faults" $(ARGS)

test-slow: $(READY)
	$(BIN)/pytest -n auto -m "slow and not slurm and not faults" $(ARGS)

# Kills, full disks, damaged files, odd inputs: a sample. `FAULTS=long make faults` tries all, in about an hour.
faults: $(READY)
	$(BIN)/pytest -m faults -rs tests/faults $(ARGS)

# Where SLURM is running: tests/workflow/test_slurm.py says what it needs.
test-slurm: $(READY)
	$(BIN)/pytest -m slurm -rs $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint
	$(BIN)/mypy scripts

# What is made from the code: the schema of config.yaml, the reference pages, the sentences of mistakes.
docs: $(READY)
	PYTHONPATH=scripts $(BIN)/python -m machinery.config_reference
	PYTHONPATH=scripts $(BIN)/python -m fusionscope.measures.reference docs/reference/metrics.md
	PYTHONPATH=scripts:tests/support $(BIN)/python tests/support/mistakes.py docs/troubleshooting.md

# The page for people, results/report.html, and Snakemake's own: every plot with the rule that drew it.
report: $(READY)
	$(BIN)/snakemake --cores $(CORES) $(ARGS) results/report.html
	$(BIN)/snakemake --report results/snakemake_report.html $(ARGS)

# The lock from the pins in pyproject.toml, for all platforms.
lock: $(READY)
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra workflow --extra data --extra dev --universal --python-version 3.11 --no-annotate \
		--custom-compile-command "make lock" --quiet --output-file envs/requirements.lock

$(READY): envs/requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fusionscope needs Python 3.11 or newer: make results PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r envs/requirements.lock
	@touch $(READY)
