"""`cxr-edge serve`."""

import contextlib
import os
import stat
import sys
from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.cli.console import out, say
from cxr_edge.cli.opening import open_classifier
from cxr_edge.cli.options import GateOption, ModelOption, OperatingPointOption, ProviderOption, ThreadsOption
from cxr_edge.errors import EnvironmentUnusable, OutputError, UsageError
from cxr_edge.extras import how_to_install, missing_modules

MOST_TOKEN_BYTES = 10_000
MB = 1_000_000
BODY_UNITS = {"kb": 1_000, "mb": MB, "gb": 1_000 * MB}
LEAST_BODY, MOST_BODY = 100_000, 2_000 * MB


def serve(  # noqa: PLR0913 - typer reads the options from the signature
    *,
    host: Annotated[
        str, typer.Option("--host", help="Address or name to listen on; others than this machine need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free one; it is printed.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", metavar="FILE", help="Holds the clients' token (32 characters or more)."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Another name of this server, as clients write it."),
    ] = None,
    max_body: Annotated[
        str, typer.Option("--max-body", metavar="SIZE", help="Most of one request: 100MB, 1GB.")
    ] = "100MB",
    max_files: Annotated[int, typer.Option("--max-files", min=1, max=1000, help="Most files of one request.")] = 50,
    queue: Annotated[
        int, typer.Option("--queue", min=1, max=1000, help="Requests in hand at once; more are asked to come again.")
    ] = 64,
    model: ModelOption = None,
    operating_point: OperatingPointOption = None,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    gate: GateOption = "strict",
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in this machine's browser.")] = False,
) -> None:
    """Serve the web page and the JSON API.

    On this machine alone unless told otherwise. Ctrl-C or SIGTERM finishes what is at work.
    """
    _check_extra()
    from cxr_edge.serve.listening import bind, is_loopback
    from cxr_edge.serve.settings import Settings

    token = None if token_file is None else _read_token(token_file)
    local = is_loopback(host)
    if not local and token is None:
        message = f"--host {host} can be reached from other machines; that needs --token-file FILE"
        raise UsageError(message)
    settings = Settings(
        host=host,
        port=port,
        token=token,
        allowed_hosts=tuple(_host_name(name) for name in allow_host or ()),
        max_body_bytes=_size(max_body),
        max_files=max_files,
        queue=queue,
    )
    bound = bind(host, port)
    from cxr_edge.isolation.limits import IsolationLimits
    from cxr_edge.serve.server import serve as run

    with (
        bound,
        open_classifier(
            model,
            provider=provider,
            threads=threads,
            gate=gate,
            operating_point=operating_point,
            isolation=IsolationLimits(),
        ) as classifier,
    ):
        _silence_libraries()
        if not local:
            say("reachable from other machines, without TLS: put a reverse proxy that speaks it in front")
        run(classifier, settings, bound, _write_log, lambda url: _tell(url, open_page=open_page))


def _check_extra() -> None:
    missing = missing_modules("serve")
    if missing:
        message = f"the web page needs more packages ({', '.join(missing)}): {how_to_install('serve')}"
        raise EnvironmentUnusable(message)


def _tell(url: str, *, open_page: bool) -> None:
    with contextlib.suppress(OutputError):  # a service may have no standard output
        out(url + "\n")  # for programs: the port may be any
    say(f"serving on {url}; Ctrl-C stops. Not a medical device.")
    if open_page:
        import threading
        import webbrowser

        # a text browser would keep the thread, and with it the event loop
        threading.Thread(target=webbrowser.open, args=(url,), name="cxr-edge-browser", daemon=True).start()


def _read_token(file: Path) -> str:
    from cxr_edge.serve.settings import LEAST_TOKEN_CHARACTERS

    try:
        with file.open("rb") as stream:
            content = stream.read(MOST_TOKEN_BYTES + 1)
            mode = os.fstat(stream.fileno()).st_mode
    except OSError as error:
        message = f"cannot read the token file {file}: {error.strerror}"
        raise UsageError(message) from None
    token = content.decode("ascii", "replace").strip()
    if not (LEAST_TOKEN_CHARACTERS <= len(token) <= MOST_TOKEN_BYTES and all("!" <= c <= "~" for c in token)):
        message = (
            f"the token file {file} holds no token; need {LEAST_TOKEN_CHARACTERS} printable ASCII characters or more, "
            "without blanks"
        )
        raise UsageError(message)
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        say(f"warning: others may read the token file {file}; chmod 600 keeps it to yourself")
    return token


def _host_name(name: str) -> str:
    if not name or any(c.isspace() or c in "/@?#*," for c in name):
        message = f"--allow-host {name!r} is no host name; need one like xray.example.org, with or without :PORT"
        raise UsageError(message)
    return name


def _size(text: str) -> int:
    number, unit = text.strip().lower()[:-2], text.strip().lower()[-2:]
    if unit not in BODY_UNITS or not (number.isascii() and number.isdigit() and len(number) < 8):  # noqa: PLR2004
        message = f"--max-body {text}: need a whole number with its unit: kB, MB or GB"
        raise UsageError(message)
    size = int(number) * BODY_UNITS[unit]
    if not LEAST_BODY <= size <= MOST_BODY:
        message = f"--max-body {text}: need 100kB to 2GB"
        raise UsageError(message)
    return size


def _silence_libraries() -> None:
    """Libraries warn in their own words, which may quote a tag's value; answers say what was decided instead."""
    import logging
    import warnings

    logging.getLogger().addHandler(logging.NullHandler())  # else warnings go to standard error
    warnings.simplefilter("ignore")


def _write_log(line: str) -> None:
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(line)
        sys.stderr.flush()
    except (OSError, ValueError):  # nobody left to tell
        return
