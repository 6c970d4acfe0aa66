"""Verbs of endpoints: serve, roll back, look, talk, measure, and keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli_options import ConfigFile, Overrides, StorageOption, root_of, show
from jobs.console import console

keys_app = typer.Typer(help="API keys of an endpoint.", no_args_is_help=True)

Endpoint = Annotated[str, typer.Argument(metavar="ENDPOINT", help="The endpoint's name: a run's, or of `serve`.")]
KeyName = Annotated[str, typer.Argument(metavar="KEY", help="The key's name.")]


def add_verbs(app: typer.Typer) -> None:
    """The verbs that stand by themselves."""
    for verb in (serve, rollback, endpoints, chat, key, bench):
        app.command()(verb)


def serve(config: ConfigFile, overrides: Overrides = None) -> None:
    """Serve a published model until Ctrl-C; if that endpoint is up, change it to this without losing a request."""
    from jobs.endpoints.config import load_endpoint
    from jobs.endpoints.supervise import serve as serve_endpoint

    serve_endpoint(load_endpoint(config, overrides or []))


def rollback(name: Endpoint, storage: StorageOption = None) -> None:
    """Let an endpoint serve again what it served before its last change."""
    from jobs.endpoints.folder import EndpointFolder
    from jobs.endpoints.supervise import rollback as roll_back

    roll_back(EndpointFolder(root_of(storage), name))


def endpoints(storage: StorageOption = None) -> None:
    """List the endpoints: what each serves, with how many replicas."""
    from jobs.endpoints.listing import endpoints_table

    show(endpoints_table(root_of(storage)))


def chat(
    name: Annotated[str, typer.Argument(metavar="ENDPOINT", help="The endpoint, or ENDPOINT:ADAPTER.")],
    storage: StorageOption = None,
) -> None:
    """Talk to an endpoint that is up."""
    from jobs.chat import chat as chat_with

    chat_with(root_of(storage), name)


def key(
    name: Endpoint,
    header: Annotated[bool, typer.Option("--header", help="As an HTTP header, for `curl -H @-`.")] = False,
    storage: StorageOption = None,
) -> None:
    """Print your own API key of an endpoint that is up, for `curl` and other clients."""
    from jobs.endpoints.folder import EndpointFolder

    own = EndpointFolder(root_of(storage), name).operator_key()
    print(f"Authorization: Bearer {own}" if header else own)


def bench(
    name: Annotated[str, typer.Argument(metavar="ENDPOINT", help="The endpoint, or ENDPOINT:ADAPTER.")],
    load: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]…", help="The load: clients=[1,16], rates=[2.5], …")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="Folder for the results; default: one in the endpoint's.")
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", help="Another server; its key is taken from $OPENAI_API_KEY.")
    ] = None,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Load a server that is not on this machine.")
    ] = False,
    storage: StorageOption = None,
) -> None:
    """Measure an endpoint under load: latency, throughput, errors, with plots."""
    from jobs.endpoints.load import bench_endpoint

    bench_endpoint(root_of(storage), name, load or [], to, url, allow_remote=allow_remote)


@keys_app.command("create")
def create_key(
    name: Endpoint,
    key_name: KeyName,
    metrics_only: Annotated[
        bool, typer.Option("--metrics-only", help="It opens /metrics alone, for a Prometheus server.")
    ] = False,
    requests_per_minute: Annotated[
        int | None, typer.Option("--requests-per-minute", min=1, help="Default: the endpoint's limit.")
    ] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option("--tokens-per-minute", min=1, help="Default: the endpoint's limit.")
    ] = None,
    storage: StorageOption = None,
) -> None:
    """Make a key and print it, once: only its hash is kept."""
    from jobs.endpoints.folder import EndpointFolder
    from serving.keys import create_key as create

    file = EndpointFolder(root_of(storage), name).require_known().keys_file
    print(
        create(
            file, key_name, scope="metrics" if metrics_only else "all", requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
        )
    )  # fmt: skip


@keys_app.command("list")
def list_keys(name: Endpoint, storage: StorageOption = None) -> None:
    """List an endpoint's keys, without the keys themselves."""
    from jobs.endpoints.folder import EndpointFolder
    from jobs.endpoints.listing import keys_table

    show(keys_table(EndpointFolder(root_of(storage), name).require_known().keys_file))


@keys_app.command("revoke")
def revoke_key(name: Endpoint, key_name: KeyName, storage: StorageOption = None) -> None:
    """Take a key back; an endpoint that is up refuses it within a second."""
    from jobs.endpoints.folder import EndpointFolder
    from serving.keys import revoke_key as revoke

    revoke(EndpointFolder(root_of(storage), name).require_known().keys_file, key_name)
    console.print(f"  revoked: {key_name}", markup=False)
