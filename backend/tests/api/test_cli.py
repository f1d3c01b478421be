"""The command line: most commands in this process, some as real programs, in terminals and pipes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.cli.main import program
from reynard_diffusion import AccessDenied, DiffusionClient
from tests.api.forked import run_forked
from tests.api.hub import hub
from tests.api.plugin_models import words
from tests.api.serving import CHECKPOINTS, Json, Server, environment, serving
from tests.api.terminal import in_terminal

PROGRAM = [sys.executable, "-m", "app.cli"]
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that the command line has started, and that wants a key."""
    command = ("app.cli", "serve", "--host", "127.0.0.1")
    folder = tmp_path_factory.mktemp("guarded")
    with serving(folder, command=command, API_KEYS="key", ADMIN_TOKEN="token") as running:
        yield running


def called(url: str, *arguments: str, given: str | None = None, key: str = "") -> Result:
    variables = {"DIFFUSION_URL": url, "DIFFUSION_API_KEY": key}
    return CliRunner().invoke(program, arguments, input=given, env=variables)


def output(url: str, *arguments: str, given: str | None = None) -> str:
    done = called(url, *arguments, given=given)
    assert done.exit_code == 0, done.output
    return done.stdout_bytes.decode()


def program_environment(url: str) -> dict[str, str]:
    return {**environment(), "DIFFUSION_URL": url}


def test_a_pipe_gets_the_text_and_nothing_else(server: Server) -> None:
    options = ("--model", "words", "--max-length", "40", "--seed", "9", "--temperature", "1")
    expected = "".join(words(9, 40))
    done = subprocess.run(
        [*PROGRAM, "generate", "x", *options], env=program_environment(server.url), capture_output=True, check=True
    )
    assert (done.stdout, done.stderr) == (expected.encode(), b"")
    assert output(server.url, "generate", *options, given="x\n") == expected
    assert output(server.url, "generate", *options, given="x\r\n") == expected


def test_json_is_one_object_and_jsonl_one_event_a_line(server: Server) -> None:
    asked = ("generate", "Once upon", "--model", "llada", "--max-length", "8", "--seed", "3")
    plain = server.answer("/generate", {"text": "Once upon", "model_id": "llada", "max_length": 8, "seed": 3})
    result = json.loads(output(server.url, *asked, "--json"))
    assert (result["text"], result["metadata"]["seed"]) == (plain["generated_text"], 3)
    events: list[Json] = [json.loads(line) for line in output(server.url, *asked, "--jsonl").splitlines()]
    assert [events[0]["type"], events[-1]["type"]] == ["start", "complete"]
    assert "step" in {event["type"] for event in events}


def test_questions_are_answered_in_a_table_or_as_json(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "questions.json"
    file.write_text(json.dumps({"mood": {"type": "score", "criteria": ["calm", {"mood": "furious"}]}}))
    asked = ("--yes-no", "Is it so?", "--choice", "Which team?", "billing, parcels", "--questions", str(file))
    lines = output(server.url, "decide", *asked, "--model", "llada", given="Help").splitlines()
    assert lines[0].split() == ["QUESTION", "ANSWER", "PROBABILITY", "MASS"]
    assert len(lines) == 7
    answer = json.loads(output(server.url, "decide", "Help", *asked, "--model", "llada", "--json"))
    assert [each["type"] for each in answer["answers"].values()] == ["noul", "choice", "score"]
    assert f"{answer['answers']['Is it so?']['noul']:.4f}" in lines[1] + lines[2]


@pytest.mark.parametrize(
    ("arguments", "complaint"), [((), "ask something"), (("--questions", "list.json"), "must hold an object")]
)
def test_decide_wants_questions(tmp_path: Path, arguments: tuple[str, ...], complaint: str) -> None:
    (tmp_path / "list.json").write_text("[]")
    found = [str(tmp_path / each) if each.endswith(".json") else each for each in arguments]
    done = called(NOBODY, "decide", "Help", *found)
    assert done.exit_code == 2
    assert complaint in done.output


def test_a_file_is_filled_in_place(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_bytes(b"def f():\r\n    <FILL>\r\n")
    options = ("--model", "dreamon", "--max-length", "8", "--seed", "1")
    body = {"prefix": "def f():\n    ", "suffix": "\n", "model_id": "dreamon", "max_length": 8, "seed": 1}
    text = server.answer("/infill", body)["infilled_text"]
    filled = f"def f():\r\n    {text}\r\n".replace(text, text.replace("\n", "\r\n"))
    as_argument = output(server.url, "infill", "def f():\n    ###\n", "--marker", "###", *options)
    assert as_argument == f"def f():\n    {text}\n"
    assert output(server.url, "infill", "--file", str(path), *options) == filled
    assert b"<FILL>" in path.read_bytes()
    done = called(server.url, "infill", "--file", str(path), "--in-place", *options)
    assert (done.stdout, path.read_bytes()) == ("", filled.encode())
    assert f"filled {path}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("generate", "x", "--model", "gpt"), 1, "there is no model 'gpt'"),
        (("infill", "<FILL>"), 1, "prefix and suffix are both empty"),
        (("generate", "x", "--model", "breaks-later"), 1, "broke while answering"),
        (("generate", "x", "--top-k", "0"), 2, "1<=x<=100"),
        (("infill", "nothing to fill"), 2, "put it once, where the gap is"),
        (("infill", "x<FILL>", "--in-place"), 2, "--in-place needs --file"),
        (("infill", "x<FILL>", "--file", "y"), 2, "not both"),
        (("generate", "x", "--url", "nowhere"), 2, "is no address of a server; give one such as http://nowhere"),
        (("generate", "caf\udce9"), 2, "byte 0xe9 is no UTF-8"),
        (("infill", "caf\udce9<FILL>"), 2, "byte 0xe9 is no UTF-8"),
        (("infill", "x#", "--marker", "\udce9"), 2, "Invalid value for '--marker'"),
        (("bench", "--prompt", "\udce9"), 2, "Invalid value for '--prompt'"),
        (("chat", "--system", "\udce9"), 2, "Invalid value for '--system'"),
        (("chat", "--temperature", "nan"), 2, "nan is no number that can be sent"),
        (("chat", "--model", "parrot", "--thinking"), 1, "has no chat template that could read 'enable_thinking'"),
        (("models", "--api-key", "\udce9"), 2, "Invalid value for '--api-key'"),
        (("models", "--url", "http://caf\udce9"), 2, "Invalid value for '--url'"),
        (("pull", "o/\udce9"), 2, "byte 0xe9 is no UTF-8"),
        (("pull", "nowhere"), 2, "give organisation/name"),
        (("generate", "x", "--url", NOBODY), 3, "no server answers at http://127.0.0.1:9"),
        (("chat", "--url", NOBODY), 3, "no server answers"),
        (("models", "--url", NOBODY), 3, "no server answers"),
    ],
)
def test_exit_codes_and_messages(server: Server, arguments: tuple[str, ...], code: int, message: str) -> None:
    done = called(server.url, *arguments, given="x\n")
    assert (done.exit_code, message in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_that_wants_a_key(guarded: Server) -> None:
    denied = called(guarded.url, "models")
    assert (denied.exit_code, "DIFFUSION_API_KEY" in denied.stderr) == (1, True)
    assert "dreamon" in called(guarded.url, "models", key="key").stdout
    with DiffusionClient(guarded.url) as stranger:
        stranger.ping()
        for call in (stranger.models, stranger.stats):
            with pytest.raises(AccessDenied):
                call()
    with DiffusionClient(guarded.url, api_key="key", admin_token="token") as known:
        assert known.generate("x", max_length=1).success
        assert known.stats().successful_requests == 1


def test_the_smoke_test_takes_a_key_too(guarded: Server, tmp_path: Path) -> None:
    command = ("test_diffusion_api", "--api-key", "key", "--admin-token", "token")
    done = run_forked(*command, folder=tmp_path, variables=program_environment(guarded.url))
    assert done.returncode == 0, done.stdout + done.stderr


def test_models_and_bench_report_in_tables_and_in_json(server: Server) -> None:
    assert "words" in output(server.url, "models")
    assert "words" in [model["model_id"] for model in json.loads(output(server.url, "models", "--json"))]
    asked = ("bench", "--model", "llada", "--runs", "2", "--max-length", "4")
    assert [line.split()[0] for line in output(server.url, *asked).splitlines()] == ["TOKENS", "run", "run", "median"]
    told: dict[str, Any] = json.loads(output(server.url, *asked, "--json"))
    assert (told["model_id"], told["device"], len(told["runs"])) == ("llada", "cpu", 2)
    assert told["median"]["steps"] >= 1
    uncounted = json.loads(output(server.url, "bench", "--model", "words", "--runs", "1", "--json"))
    assert (uncounted["median"]["tokens"], uncounted["median"]["steps"]) == (64, 0)


def test_a_conversation_remembers_until_it_is_reset(server: Server) -> None:
    """The parrot says what it was given."""
    said = output(
        server.url, "chat", "--model", "parrot", "--system", "Be brief.", "--no-thinking",
        given="one\ntwo\n/reset\nthree\n/exit\nx",
    )  # fmt: skip
    first = "System: Be brief.\n\nUser: one\n\nAssistant:"
    second = f"{first} {first}\n\nUser: two\n\nAssistant:"
    third = "System: Be brief.\n\nUser: three\n\nAssistant:"
    assert said == f"{first}\n{second}\n{third}\n"


def test_bytes_that_are_no_text_are_called_so(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "x\udce9.txt"
    path.write_bytes(b"caf\xe9 <FILL>")
    for arguments, source in [
        (("generate", "-"), "standard input"),
        (("infill",), "standard input"),
        (("chat",), "standard input"),
        (("infill", "--file", str(path)), str(path).encode("utf-8", "replace").decode()),
    ]:
        variables = program_environment(server.url)
        done = run_forked("app.cli", *arguments, folder=tmp_path, variables=variables, given=b"caf\xe9 <FILL>\n")
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{source} is no text in UTF-8: invalid continuation byte at byte 3" in done.stderr


def test_the_environment_does_not_come_between_a_command_and_a_server_on_this_machine(
    server: Server, tmp_path: Path
) -> None:
    broken = {"NO_PROXY": "[::1],fd00::/8", "ALL_PROXY": "socks5://127.0.0.1:9", "HTTP_PROXY": "http://x:y"}
    variables = {**program_environment(f"{server.url}/v1"), **broken, "SSL_CERT_FILE": "/gone"}
    done = run_forked("app.cli", "models", folder=tmp_path, variables=variables)
    assert (done.returncode, done.stderr) == (0, "")
    elsewhere = {**variables, "DIFFUSION_URL": "http://server.example"}
    done = run_forked("app.cli", "models", folder=tmp_path, variables=elsewhere)
    assert (done.returncode, "Error: HTTP_PROXY names no proxy" in done.stderr) == (2, True)
    assert "Traceback" not in done.stderr


def test_a_turn_that_fails_is_forgotten(server: Server) -> None:
    done = called(server.url, "chat", "--model", "parrot", given=f"{'long ' * 30_000}\nshort\n")
    assert done.exit_code == 1
    assert "Error: messages" in done.stderr
    assert done.stdout == "User: short\n\nAssistant:\n"


def test_a_terminal_shows_the_canvas_while_it_denoises(server: Server) -> None:
    command = [*PROGRAM, "generate", "a naïve text\x1b[2J", "--model", "parrot", "--seed", "1"]
    written, code = in_terminal(command, program_environment(server.url))
    assert code == 0
    assert "waiting for the model" in written or "tokens decided" in written
    assert "\x1b[1A\x1b[2K" in written, "it was drawn again in its place"
    assert "\x1b[2J" not in written
    *_, last, summary, _ = written.split("\r\n")
    assert last.endswith("a naïve text�[2J")
    assert "parrot on cpu: 8 tokens in " in summary
    assert "None" not in summary


def test_a_terminal_shows_no_colours_to_who_wants_none(server: Server) -> None:
    command = [*PROGRAM, "infill", "def f():\n    <FILL>\n", "--model", "dreamon", "--max-length", "8"]
    written, code = in_terminal(command, {**program_environment(server.url), "NO_COLOR": "1"})
    assert code == 0
    assert "\x1b[38;" not in written


def test_ctrl_c_in_a_terminal_cancels_on_the_server(server: Server) -> None:
    before = server.wait_until_idle()["cancelled_requests"]
    command = [*PROGRAM, "generate", "x", "--plain", "--model", "endless"]
    written, code = in_terminal(command, program_environment(server.url), typed={"on on": "\x03"})
    assert code == 130
    assert "Traceback" not in written
    assert server.wait_until_idle()["cancelled_requests"] == before + 1


def test_a_conversation_in_a_terminal(server: Server) -> None:
    command = [*PROGRAM, "chat", "--model", "parrot"]
    typed = {"> ": "one\r", "Assistant:\r\n": "/exit\r"}
    written, code = in_terminal(command, program_environment(server.url), typed=typed)
    assert code == 0
    assert "User: one\r\n\r\nAssistant:\r\n" in written


def test_a_pipe_that_breaks_ends_it_quietly(server: Server) -> None:
    before = server.wait_until_idle()["cancelled_requests"]
    command = f"{shlex.quote(sys.executable)} -m app.cli generate x --model endless | head -c 5"
    done = subprocess.run(command, shell=True, env=program_environment(server.url), capture_output=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"on on", b"")
    assert server.wait_until_idle()["cancelled_requests"] == before + 1


def test_a_command_answers_from_its_own_process_without_a_server(tmp_path: Path) -> None:
    """In an environment in which nothing runs at the default address, and the settings are those of this folder."""
    (tmp_path / ".env").write_text(
        f"DIFFUSION_LLADA_PATH={CHECKPOINTS / 'llada-tiny'}\nDIFFUSION_DEFAULT_MODEL=llada\n"
    )
    variables = {name: value for name, value in environment().items() if not name.startswith("DIFFUSION_")}
    command = ("app.cli", "generate", "Once upon", "--local", "--json", "--max-length", "4")
    done = run_forked(*command, folder=tmp_path, variables=variables)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model_id"] == "llada"
    assert done.stderr == ""


def pulled(folder: Path, variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_forked("app.cli", "pull", *arguments, folder=folder, variables=variables)


def test_pull_brings_what_is_needed_and_nothing_else(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (repository / name).write_bytes((CHECKPOINTS / "llada-tiny" / name).read_bytes())
    for name in ("modeling_llada.py", "pytorch_model.bin"):
        (repository / name).write_text(name)
    with hub("maker/llada", repository) as url:
        variables = {**environment(), "HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "home")}
        done = pulled(tmp_path, variables, "maker/llada", "--to", str(tmp_path / "here"))
        absent = pulled(tmp_path, variables, "maker/other")
        (repository / "model.safetensors").unlink()
        partial = pulled(tmp_path, variables, "maker/llada", "--to", "there")
    offline = pulled(tmp_path, {**variables, "HF_HUB_OFFLINE": "1"}, "maker/other", "--to", "here")
    assert done.stdout.strip() == str(tmp_path / "here"), done.stderr
    there = {path.name for path in (tmp_path / "here").iterdir() if path.is_file()}
    assert there == {"config.json", "tokenizer.json", "model.safetensors"}
    assert (absent.returncode, "maker/other" in absent.stderr) == (1, True)
    assert (partial.returncode, "did not come whole: model.safetensors is missing" in partial.stderr) == (1, True)
    # Where the hub cannot be asked, a folder that is there is not what was asked for.
    assert (offline.returncode, "nor could it be downloaded" in offline.stderr, offline.stdout) == (1, True, "")


def test_a_block_causal_checkpoint_is_pulled_and_chats(tmp_path: Path) -> None:
    """From the hub's id to an answer, with nothing but what the first command says and a name."""
    variables = {name: value for name, value in environment().items() if not name.startswith("DIFFUSION_")}
    with hub("JetLM/SDAR-1.7B-Chat", CHECKPOINTS / "block" / "sdar-tiny") as url:
        variables |= {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "home")}
        done = pulled(tmp_path, variables, "JetLM/SDAR-1.7B-Chat")
    setting = f"DIFFUSION_EXTRA_MODELS=sdar={done.stdout.strip()}"
    assert setting.replace("sdar=", "name=") in done.stderr
    (tmp_path / ".env").write_text(f"{setting}\nDIFFUSION_DEFAULT_MODEL=sdar\nDIFFUSION_PRELOAD=default\n")
    command = ("app.cli", "chat", "--local", "--max-tokens", "8", "--seed", "1", "--no-thinking")
    said = run_forked(*command, folder=tmp_path, variables=variables, given=b"Hi\nGo on\n")
    assert (said.returncode, said.stdout.count("\n") >= 2) == (0, True), said.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    assert "_REYNARD_DIFFUSION_COMPLETE" in output("", "completion", shell)


def test_the_shell_completes_options() -> None:
    variables = {**os.environ, "_REYNARD_DIFFUSION_COMPLETE": "bash_complete"}
    asked = {"COMP_WORDS": "reynard-diffusion generate --dec", "COMP_CWORD": "2"}
    code = "from app.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=variables | asked, capture_output=True, text=True)
    assert done.stdout == "plain,--decoding\n"


@pytest.mark.parametrize("port", ["0", "http"])
def test_serve_refuses_a_port_that_is_none(port: str) -> None:
    assert called("", "serve", "--port", port).exit_code == 2


def test_the_doctor_s_exit_code_is_its_verdict(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("DIFFUSION_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    well = called("", "doctor", "--url", server.url)
    assert (well.exit_code, "problem" in well.stdout) == (0, False), well.stdout
    (tmp_path / ".env").write_text("DIFFUSION_TOP_K=lots\n")
    ill = called(server.url, "doctor", "--json")
    assert ill.exit_code == 1
    assert "problem" in {finding["level"] for finding in json.loads(ill.stdout)}
