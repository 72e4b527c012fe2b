#!/usr/bin/env bash
# Training speed on one GPU: benchmarks/gpu.sh [0.5b] [1.5b] [8b] [--runs N] ...   (see benchmarks/gpu.py --help)
#
# Needs a Python with torch for CUDA and transformers (PYTHON, default python3), and no network. What that Python lacks
# can lie as wheels in a folder (WHEELS, default .whl); they are installed beside it, not into it. heed itself wants
# pydantic, pydantic-core, annotated-types and typing-inspection where they are missing; TRL is measured when trl, datasets, dill and
# multiprocess can be imported too, and is left out, saying so, when they cannot.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON="${PYTHON:-python3}"
WHEELS="${WHEELS:-.whl}"
export HEED_BENCH_FOLDER="${HEED_BENCH_FOLDER:-${TMPDIR:-/tmp}/heed-bench}"
mkdir -p "$HEED_BENCH_FOLDER"
if compgen -G "$WHEELS/*.whl" >/dev/null; then
  site="$HEED_BENCH_FOLDER/site"
  "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" "$WHEELS"/*.whl
  export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}"
export HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1

"$PYTHON" - <<'CHECK'
import sys
import torch
wanted = ("torch", "transformers", "peft", "safetensors", "numpy", "scipy", "jinja2", "pydantic", "yaml", "rich", "typer")
missing = []
for name in wanted:
    try:
        __import__(name)
    except ImportError as error:
        missing.append(f"{name} ({error})")
print(f"python {sys.version.split()[0]}, torch {torch.__version__}, CUDA device: {torch.cuda.is_available()}", file=sys.stderr)
if missing:
    sys.exit("missing for heed: " + ", ".join(missing) + ": put their wheels into the folder that WHEELS names")
CHECK

more=()
if [ -z "${HEED_PEER_TRL:-}" ]; then
  if "$PYTHON" -c 'from trl import SFTTrainer' 2>"$HEED_BENCH_FOLDER/trl-import.txt"; then
    HEED_PEER_TRL="$(command -v "$PYTHON")"
    export HEED_PEER_TRL
  else
    echo "TRL is left out: $(tail -n 1 "$HEED_BENCH_FOLDER/trl-import.txt")" >&2
    more=(--no-trl)
  fi
fi
"$PYTHON" benchmarks/gpu.py "${more[@]}" "$@"
if [ -n "${OUT:-}" ] && [ -f benchmarks/results/gpu.jsonl ]; then
  cp benchmarks/results/gpu.jsonl "$OUT/"  # a folder that brings files back from a borrowed machine
fi
