"""Tasks beside each other: in worker processes of this machine, or on Ray; the results come as they are done."""

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from ..toolkit.errors import InputError, TargetError

RETRIES = 3
"""How often Ray may start a task again whose worker died."""

Key = TypeVar("Key")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def on_ray(
    work: Callable[..., Any], tasks: Mapping[Key, tuple[Any, ...]], address: str, what: str
) -> Iterator[tuple[Key, Any]]:
    """Yield the key and the result of every task, each run by a worker of Ray.

    Args:
        work: a function of a module, so that workers find it.
        tasks: its arguments.
        address: "local" starts Ray here, anything else is the address of a cluster.
        what: a task is, for messages.

    Raises:
        InputError: Ray is not installed, or no cluster answers.
        TargetError: a task's worker was lost more than :data:`RETRIES` times.
    """
    if not tasks:
        return
    with _ray(address) as ray:
        # A worker that dies is started again; what it left in a folder is taken up.
        task = ray.remote(max_retries=RETRIES, num_cpus=1)(work)
        pending = {task.remote(*given): key for key, given in tasks.items()}
        while pending:
            (done, *_), _ = ray.wait(list(pending), num_returns=1)
            key = pending.pop(done)
            try:
                yield key, ray.get(done)
            except ray.exceptions.RayTaskError as error:
                raise error.as_instanceof_cause() from error
            except ray.exceptions.RayError as error:
                raise TargetError(
                    f"{what} {key!r}: Ray lost its worker {RETRIES + 1} times ({type(error).__name__}); "
                    "give it more memory, or run without --ray"
                ) from error


@contextmanager
def _ray(address: str) -> Iterator[Any]:
    try:
        import ray
    except ImportError as error:
        raise InputError("--ray: Ray is not installed; pip install 'spikeproof[ray]'") from error
    # Nothing is sent anywhere; one thread a worker, since torch's threads fight each other where every core has a task.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    environment = {"env_vars": {"OMP_NUM_THREADS": "1"}}
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {"address": address}
    try:
        ray.init(runtime_env=environment, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(f"--ray {address}: no cluster answers there ({error})") from error
    try:
        yield ray
    finally:
        ray.shutdown()


class _Worker:
    """A process that reads a line of JSON, works, and answers with one."""

    def __init__(self, module: str) -> None:
        # One thread each: there is a worker a core.
        self.process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def ask(self, task: Any, patience: float) -> Any:
        """Return the answer, or None if the process died, or was killed after ``patience`` seconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        timer = threading.Timer(patience, self.process.kill)
        timer.start()
        try:
            self.process.stdin.write(json.dumps(task) + "\n")
            self.process.stdin.flush()
            told = self.process.stdout.readline()
        except BrokenPipeError:
            told = ""
        finally:
            timer.cancel()
        return json.loads(told) if told.endswith("\n") else None

    def end(self) -> None:
        """End the process; again is no harm."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            with suppress(BrokenPipeError):  # what was not read any more
                if stream is not None:
                    stream.close()


def on_processes(module: str, tasks: Mapping[Key, Any], jobs: int, patience: float) -> Iterator[tuple[Key, Any]]:
    """Yield the key and the answer of every task, each by one of ``jobs`` worker processes; none outlives this.

    Args:
        module: run as a program, it answers each line of JSON with one.
        tasks: JSON values.
        jobs: processes.
        patience: seconds that a task may take; its worker is killed then, and the answer is None, as for a worker that
            died.
    """
    workers: dict[int, _Worker] = {}
    closing = threading.Event()

    def ask(task: Any) -> Any:
        own = threading.get_ident()
        worker = workers.get(own) or workers.setdefault(own, _Worker(module))
        # Looked at after the worker is known: either it is seen here, or the worker is seen there.
        answer = None if closing.is_set() else worker.ask(task, patience)
        if answer is None:
            workers.pop(own, None)
            worker.end()
        return answer

    pool = ThreadPoolExecutor(max(1, min(jobs, len(tasks))))
    try:
        waiting = {pool.submit(ask, task): key for key, task in tasks.items()}
        for done in as_completed(waiting):
            yield waiting[done], done.result()
    finally:
        # Killed first: a thread that waits for an answer gets none.
        closing.set()
        pool.shutdown(wait=False, cancel_futures=True)
        for own in list(workers):
            if worker := workers.pop(own, None):
                worker.end()
        pool.shutdown(wait=True)
