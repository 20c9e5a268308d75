"""Who grades: processes of this machine, or of a Dask cluster."""

import os
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

from cs231n_gen.grading.run.assignment import Assignment, Job, Submission
from cs231n_gen.grading.run.examiner import ExerciseResult, GraderBroken
from cs231n_gen.grading.run.worker_client import Worker, grade_here

Found = tuple[Submission, dict[str, ExerciseResult] | Exception, float]


class LocalPool:
    """Workers on this machine, each with its fork server.

    Args:
        assignment: what they grade.
        size: how many.

    They start with the first submission.
    """

    def __init__(self, assignment: Assignment, size: int):
        self._assignment = assignment
        self._workers: list[Worker | None] = [None] * size
        self._closing = threading.Event()
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self._cores = cores if size <= len(cores) else []

    def _start(self, n: int) -> Worker:
        core = self._cores[n] if self._cores else None
        return Worker(self._assignment.limits, unsafe=self._assignment.unsafe, core=core)

    def map(self, submissions: Iterable[Submission]) -> Iterator[Found]:
        """Grade submissions; they come back as they are done. One waits for each worker."""
        waiting: queue.Queue[Submission | None] = queue.Queue(len(self._workers))
        done: queue.Queue[Found] = queue.Queue()
        threads = [
            threading.Thread(target=self._work, args=(n, waiting, done), daemon=True)
            for n in range(len(self._workers))
        ]
        for thread in threads:
            thread.start()
        under_way = 0
        for submission in submissions:
            while under_way >= 2 * len(threads):
                yield done.get()
                under_way -= 1
            waiting.put(submission)
            under_way += 1
        for _ in threads:
            waiting.put(None)
        for _ in range(under_way):
            yield done.get()

    def _work(self, n: int, waiting: queue.Queue, done: queue.Queue) -> None:
        while (submission := waiting.get()) is not None:
            try:
                found, seconds = self._examine(n, submission)
            except Exception as error:
                found, seconds = error, 0.0
            done.put((submission, found, seconds))

    def _examine(self, n: int, submission: Submission) -> tuple[dict[str, ExerciseResult], float]:
        """Grade; if the grader breaks, once more with a new one."""
        for last in (False, True):
            if self._closing.is_set():
                raise GraderBroken("stopped")
            worker = self._workers[n]
            if worker is None or not worker.alive:
                worker = self._workers[n] = self._start(n)
            try:
                begun = time.monotonic()
                found = self._assignment.job(submission).run(worker.grade)
                return found, time.monotonic() - begun
            except GraderBroken:
                if last:
                    raise
        raise AssertionError

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        self._closing.set()
        for worker in filter(None, self._workers):
            with suppress(OSError, ValueError):
                worker.close()

    def __enter__(self) -> "LocalPool":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


class DaskPool:
    """Workers of a Dask cluster, each of which has this course installed.

    Args:
        assignment: what they grade.
        address: of the scheduler, `tcp://host:8786`.
    """

    def __init__(self, assignment: Assignment, address: str):
        from distributed import Client

        self._assignment = assignment
        self._client = Client(address, set_as_default=False, timeout=10)

    def map(self, submissions: Iterable[Submission]) -> Iterator[Found]:
        """Grade submissions; they come back as they are done."""
        from distributed import as_completed

        under_way: dict = {}
        waiting = as_completed(loop=self._client.loop)
        most = 2 * max(1, sum(self._client.nthreads().values()))
        for submission in submissions:
            future = self._client.submit(
                run_here, self._assignment.job(submission), pure=False, retries=1
            )
            under_way[future.key] = submission
            waiting.add(future)
            while len(under_way) >= most:
                yield self._collect(next(waiting), under_way)
        while under_way:
            yield self._collect(next(waiting), under_way)

    @staticmethod
    def _collect(future, under_way: dict) -> Found:
        submission = under_way.pop(future.key)
        try:
            found, seconds = future.result()
        except Exception as error:
            found, seconds = error, 0.0
        future.release()
        return submission, found, seconds

    def close(self) -> None:
        """Leave the cluster."""
        self._client.close()

    def __enter__(self) -> "DaskPool":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


def run_here(job: Job) -> tuple[dict[str, ExerciseResult], float]:
    """Do a job in this process, which keeps its grading process for the next."""
    begun = time.monotonic()
    return job.run(grade_here), time.monotonic() - begun
