import subprocess
import sys

import pytest

CODE = """
import resource
from spikeproof.toolkit.kernels.memory import keep_freed_memory
import torch
kept = keep_freed_memory() if {keep} else False
for _ in range(20):  # until the heap has found its size
    torch.ones(2**23)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.ones(2**23)
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_memory_that_was_freed_costs_no_page_faults_again() -> None:
    found = {}
    for keep in (True, False):
        done = subprocess.run(
            [sys.executable, "-c", CODE.format(keep=keep)], capture_output=True, text=True, check=True
        )
        found[keep] = [int(number) for number in done.stdout.split()]
    if not found[True][0]:
        pytest.skip("this C library has no mallopt")
    assert found[True][1] < found[False][1] / 10
