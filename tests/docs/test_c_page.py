"""The table of docs/c.md is that of its record."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_is_that_of_the_record() -> None:
    record = json.loads((ROOT / "records" / "benchmarks" / "c_beside_loihi.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "c.md").read_text(encoding="utf-8")
    for row in record["networks"]:
        rounds = row["times_faster_rounds"]
        board = next(one for one in row["compiled"] if "cortex" in one["compiler"])
        cells = (
            row["network"],
            f"{row['c_cpu_milliseconds_an_image']:.3f}",
            f"{row['loihi_cpu_milliseconds_batch_1']:.2f}",
            f"{row['times_faster']:.0f} ({min(rounds):.0f} to {max(rounds):.0f})",
            f"{row['additions_a_step']:.0f} of {row['most_additions_a_step']}",
            str(board["flash"]),
            str(board["ram"]),
            f"{row['cortex_m4']['instructions_an_image'] / 1000:.0f}",
        )
        assert f"| {' | '.join(cells)} |" in page
