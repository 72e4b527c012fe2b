"""TRL's preparation of rows: template, tokenise and pack, run with the python of `.bench/trl`.

Specification: model (folder with a chat template), chats (JSONL of conversational prompt and completion), threads, work.
Report: seconds, tokens, rows.
"""

from __future__ import annotations

import time

from datasets import Dataset, disable_caching
from meter import read_spec, versions, write_report
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer


def main() -> None:
    spec = read_spec()
    disable_caching()
    tokenizer = AutoTokenizer.from_pretrained(spec["model"])
    settings = SFTConfig(
        output_dir=spec["work"],
        packing=True,
        packing_strategy="bfd",
        max_length=2048,
        dataset_num_proc=spec["threads"],
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    warm = Dataset.from_list([{"input_ids": [1, 2]}])
    trainer = SFTTrainer(model=spec["model"], args=settings, train_dataset=warm, processing_class=tokenizer)
    began = time.perf_counter()
    rows = Dataset.from_json(spec["chats"], cache_dir=spec["work"])
    made = trainer._prepare_dataset(rows, tokenizer, settings, True, None, "train")
    seconds = time.perf_counter() - began
    report = {"seconds": seconds, "rows": len(rows), "tokens": sum(map(len, made["input_ids"]))}
    write_report(spec, {**report, "versions": versions("trl", "transformers", "datasets", "tokenizers")})


if __name__ == "__main__":
    main()
