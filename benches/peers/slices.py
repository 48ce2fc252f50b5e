"""The line protocol of a measured side: it says it is ready, then does as many units of work as each line asks for.

    echo 20 | python step.py --precision bf16

Always true: nothing is measured that the driver did not ask for, so that two sides can take turns on one machine.
"""

import json
import sys
import time


def answer(work, **ready):
    """Answers each line, a number of units, by the seconds that `work(units)` took."""
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        work(int(line))
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)
