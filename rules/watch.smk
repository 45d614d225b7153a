# Watching: one line that tells how far the run is, and a record of it when it has ended.
import os
from datetime import datetime, timezone

from machinery import chance, failures, manifest, provenance, records
from machinery.progress import Progress

RECORD = "results/run.json"
LOGS = Path(workflow.storage_settings.default_storage_prefix or "", as_kept("logs"))
STARTED = datetime.now(timezone.utc)
PROGRESS = Progress(LOGS)

if MAIN and ALONE:
    logger.addHandler(PROGRESS)

# Results in a storage are others' to look after. With --touch, everything is taken as it is.
WATCHED = MAIN and ALONE and workflow.storage_settings.default_storage_provider is None
if WATCHED and records.restore():
    logger.warning(
        f"{records.RECORDS}, by which Snakemake knows what is stale, was gone: taken from {records.COPY}"
    )
if WATCHED and {"--touch", "-t"}.intersection(sys.argv):
    manifest.record(manifest.changed_files())
elif WATCHED and "--report" not in sys.argv:
    CHANGED = manifest.set_changed_aside()
    if CHANGED:
        names = ", ".join(CHANGED[:5]) + (f" and {len(CHANGED) - 5} more" if len(CHANGED) > 5 else "")
        logger.warning(
            f"Changed since this workflow wrote it, and to be made again (what is there is kept as "
            f"*{manifest.CHANGED}): {names}"
        )


def end_run(state, snakemake_log):
    """Record the run; the last to be said, lest they be overlooked: killed jobs, parents at chance."""
    if WATCHED:
        remember_what_is_there()
    at_chance = chance.parents_at_chance(STUDY.experiments.values(), LOGS)
    record_run(state, snakemake_log, at_chance)
    if PROGRESS.killed:
        logger.warning(failures.KILLED)
    if at_chance:
        logger.warning(chance.summary(at_chance))


def remember_what_is_there():
    """For the next run, which without it finds less of what changed."""
    try:
        manifest.record(str(path) for job in workflow.dag.jobs for path in job.output)
        records.keep()
    except OSError as error:
        logger.warning(failures.sentence_of(error, manifest.MANIFEST) or str(error))


def record_run(state, snakemake_log, at_chance):
    """Write down what ran, with what, where, and what it took. No reason for a run to fail."""
    if workflow.touch:
        return
    try:
        record = {
            "state": state,
            "started": STARTED.isoformat(timespec="seconds"),
            "ended": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "command": provenance.command_line("snakemake", sys.argv[1:]),
            "experiments": list(STUDY.experiments),
            "jobs": {"planned": PROGRESS.total, "done": PROGRESS.done},
            "parents_at_chance": at_chance,
            "git": provenance.git_state(ROOT),
            "python": sys.version.split()[0],
            "packages": provenance.versions(),
            "hardware": provenance.hardware(),
            "snakemake_log": [os.path.relpath(path) for path in snakemake_log],
            "rules": provenance.times_by_rule(provenance.timed_jobs(LOGS)),
        }
        provenance.write_record(RECORD, record)
    except Exception as error:
        logger.warning(f"{RECORD} could not be written: {error}")


def start_jobs():
    """Snakemake makes folders and deletes what is out of date before a job can say what is wrong."""
    paths = [str(path) for job in workflow.dag.needrun_jobs() for path in job.output]
    try:
        failures.check_can_write({Path(path).parent for path in paths})
    except InputError as error:
        raise WorkflowError(str(error)) from None
    if WATCHED:
        manifest.start_jobs(paths)
    if not workflow.local_exec:
        run_lock.tell_jobs_are_elsewhere()


onstart:
    start_jobs()


onsuccess:
    end_run("succeeded", log)


onerror:
    end_run("failed", log)
