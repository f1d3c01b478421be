"""guidellm, which measures a server by streams of completions and of chat."""

import json
import subprocess
import sys
from pathlib import Path

PROMPTS = ["It was a truth", "Once upon a time", "He said"]
NUM_TOKENS = 8

rows = [json.dumps({"prompt": prompt, "output_tokens_count": NUM_TOKENS}) for prompt in PROMPTS]
Path("data.jsonl").write_text("\n".join(rows))
for request_format in ("/v1/completions", "/v1/chat/completions"):
    backend = f"kind=openai_http,target={sys.argv[1]},model=llada,request_format={request_format}"
    command = [str(Path(sys.executable).with_name("guidellm")), "run", "--disable-console", "--backend", backend]
    command += ["--profile", "kind=synchronous", "--constraint", f"kind=max_requests,count={len(PROMPTS)}"]
    command += ["--data", "kind=json_file,path=data.jsonl", "--output", "kind=json,path=out.json"]
    subprocess.run(command, check=True)
    totals = json.loads(Path("out.json").read_text())["benchmarks"][0]["metrics"]["request_totals"]
    assert (totals["successful"], totals["errored"]) == (len(PROMPTS), 0), totals
