"""datatrove's near-duplicates: its four MinHash stages under the local executor, run with the python of `.bench/datatrove`.

Specification: texts (folder of JSONL files, `text` and `id`), threads, work.   Report: seconds, rows, kept.
"""

from __future__ import annotations

import gzip
import time
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from meter import read_spec, versions, write_report


def main() -> None:
    spec = read_spec()
    work, threads = Path(spec["work"]), spec["threads"]
    signatures, buckets, remove, kept = (str(work / name) for name in ("signatures", "buckets", "remove", "kept"))
    config = MinhashConfig(n_grams=3, num_buckets=16, hashes_per_bucket=8)
    reader = JsonlReader(spec["texts"])
    stages = [
        ([reader, MinhashDedupSignature(output_folder=signatures, config=config)], threads),
        ([MinhashDedupBuckets(input_folder=signatures, output_folder=buckets, config=config)], config.num_buckets),
        ([MinhashDedupCluster(input_folder=buckets, output_folder=remove, config=config)], 1),
        ([reader, MinhashDedupFilter(input_folder=remove), JsonlWriter(kept)], threads),
    ]
    began = time.perf_counter()
    for number, (steps, tasks) in enumerate(stages):
        LocalPipelineExecutor(
            pipeline=steps, tasks=tasks, workers=min(threads, tasks), logging_dir=str(work / f"log{number}")
        ).run()
    seconds = time.perf_counter() - began
    count = sum(len(path.read_bytes().splitlines()) for path in Path(spec["texts"]).iterdir())
    left = sum(len(gzip.decompress(path.read_bytes()).splitlines()) for path in Path(kept).iterdir())
    write_report(spec, {"seconds": seconds, "rows": count, "kept": left, "versions": versions("datatrove")})


if __name__ == "__main__":
    main()
