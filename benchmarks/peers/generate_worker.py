"""transformers' own `generate`, one prompt after the other: the speed that a server for one client is compared with."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text("utf8"))
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(spec["threads"])
    tokenizer = AutoTokenizer.from_pretrained(spec["model"])
    model = AutoModelForCausalLM.from_pretrained(spec["model"], dtype=torch.float32).eval()

    def answer(text: str) -> int:
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        out = model.generate(**ids, max_new_tokens=spec["new_tokens"], do_sample=False)
        return int(out.shape[1] - ids["input_ids"].shape[1])

    answer(spec["prompts"][0])
    began = time.perf_counter()
    tokens = sum(answer(text) for text in spec["prompts"])
    Path(spec["out"]).write_text(json.dumps({"tokens": tokens, "seconds": time.perf_counter() - began}))


main()
