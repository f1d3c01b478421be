"""The environments of other people's clients, one each, since their requirements clash.

`python -m tests.clients.environments FOLDER` brings all of them to the newest release of each client, which
`make test-clients` does before it runs the programs.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import ClassVar

FOLDER = "CLIENTS"
"""The variable that names the folder of the environments."""
PROGRAMS = Path(__file__).parent / "programs"


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment, and what runs in it.

    Attributes:
        name: its folder.
        packages: what is installed.
        programs: files below `programs/`, which get the server's address and fail where the client does.
    """

    name: str
    packages: tuple[str, ...]
    programs: tuple[str, ...]
    language: ClassVar[str]
    """The words that tell a client from one of the same name in another language."""

    def install(self, folder: Path) -> None:
        """Brings it to the newest releases."""
        raise NotImplementedError

    def command(self, folder: Path, program: str) -> Sequence[str] | None:
        """The command that runs a program in it; `None` where it is not there."""
        raise NotImplementedError

    def versions(self, folder: Path) -> Mapping[str, str]:
        """The version of each package; an empty one where it is not there."""
        raise NotImplementedError


class Python(Environment):
    """A virtual environment."""

    language = ""

    def install(self, folder: Path) -> None:
        venv.create(folder / self.name, with_pip=True)
        _run(self._python(folder), "-m", "pip", "install", "--quiet", "--upgrade", *self.packages)

    def command(self, folder: Path, program: str) -> Sequence[str] | None:
        python = self._python(folder)
        return (str(python), str(PROGRAMS / program)) if python.exists() else None

    def versions(self, folder: Path) -> Mapping[str, str]:
        homes = [str(home) for home in (folder / self.name).glob("lib/python*/site-packages")]
        found = {each.name.lower(): each.version for each in distributions(path=homes)}
        names = {package: re.split(r"[\[<>=~!;]", package)[0] for package in self.packages}
        return {package: found.get(name.lower(), "") for package, name in names.items()}

    def _python(self, folder: Path) -> Path:
        return folder / self.name / "bin" / "python"


class Node(Environment):
    """A folder with packages of Node. It finds them beside the program, so that one is copied there."""

    language = ", Node"

    def install(self, folder: Path) -> None:
        (folder / self.name).mkdir(parents=True, exist_ok=True)
        newest = [f"{package}@latest" for package in self.packages]
        _run("npm", "install", "--silent", "--prefix", folder / self.name, *newest)

    def command(self, folder: Path, program: str) -> Sequence[str] | None:
        if not (folder / self.name / "node_modules").is_dir():
            return None
        copy = folder / self.name / program
        copy.write_bytes((PROGRAMS / program).read_bytes())
        return "node", str(copy)

    def versions(self, folder: Path) -> Mapping[str, str]:
        about = {package: folder / self.name / "node_modules" / package / "package.json" for package in self.packages}
        return {
            package: json.loads(path.read_text(encoding="utf-8"))["version"] if path.exists() else ""
            for package, path in about.items()
        }


ENVIRONMENTS: tuple[Environment, ...] = (
    Python("openai", ("openai",), ("ask_openai.py",)),
    Python("mistralai", ("mistralai",), ("ask_mistralai.py",)),
    Python("litellm", ("litellm",), ("ask_litellm.py",)),
    Python("ollama", ("ollama",), ("ask_ollama.py",)),
    Python(
        "structured",
        ("instructor", "langchain-openai", "langchain-ollama", "pydantic-ai-slim[openai]", "llm"),
        ("ask_structured.py",),
    ),
    Python("agents", ("openai-agents",), ("ask_agents.py",)),
    Python("guidellm", ("guidellm",), ("ask_guidellm.py",)),
    Node(
        "node",
        (
            "openai",
            "ai",
            "@ai-sdk/openai",
            "@ai-sdk/openai-compatible",
            "@continuedev/openai-adapters",
            "ollama",
            "ai-sdk-ollama",
            "@langchain/core",
            "@langchain/ollama",
            "zod",
        ),
        ("ask_openai.mjs", "ask_ai.mjs", "ask_continue.mjs", "ask_ollama.mjs"),
    ),
)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


def main(folder: Path) -> None:
    """Makes all environments, or brings them up to date. One that cannot be had does not stop the others."""
    for environment in ENVIRONMENTS:
        sys.stdout.write(f"{environment.name}: {' '.join(environment.packages)}\n")
        try:
            environment.install(folder)
        except (OSError, subprocess.CalledProcessError) as error:
            sys.stdout.write(f"{environment.name} cannot be installed: {error}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
