"""`codeq enqueue`: tasks from the command line, from files, from standard input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from codeq_grpc.cli.connection import connected
from codeq_grpc.cli.values import duration, moment, pair, priority, text

if TYPE_CHECKING:
    from codeq_grpc.cli.connection import Connection
    from codeq_grpc.cli.inputs import Input


_EXAMPLES: Final = """\b
codeq enqueue greet --payload '{"name": "Ada"}' --wait
codeq enqueue count --file *.txt
find . -name '*.png' | codeq enqueue thumbnail --files-from -
"""


@click.command(epilog=_EXAMPLES)
@click.argument("command", type=text)
@click.argument("inputs", metavar="[FILE]...", nargs=-1)
@click.option("--payload", type=text, metavar="JSON", help="Payload of the one task.")
@click.option(
    "--file",
    "files",
    multiple=True,
    metavar="FILE",
    help="One task with the file's bytes; may be repeated, more files may follow; - is stdin.",
)
@click.option("--files-from", metavar="FILE", help="File names, one a line; - is stdin.")
@click.option(
    "--priority", type=priority, metavar="LEVEL", help="low, normal, high, critical, or 0 to 9."
)
@click.option("--delay", type=duration, help="Not before this time has passed, e.g. 10s.")
@click.option("--expire-in", type=duration, help="Not after this time has passed: EXPIRED then.")
@click.option("--expire-at", type=moment, metavar="TIME", help="Not after this time, in UTC.")
@click.option("--lease", type=duration, help="How long a worker has for it, e.g. 5m.")
@click.option("--attempt-timeout", type=duration, help="Longest attempt, whatever the worker says.")
@click.option("--max-attempts", type=click.IntRange(1, 100), help="Attempts allowed.")
@click.option("--idempotency-key", type=text, metavar="KEY", help="One task for each key.")
@click.option("--idempotency-ttl", type=duration, help="How long the key counts, e.g. 1h.")
@click.option(
    "--on-conflict",
    type=click.Choice(["use_existing", "fail", "replace"]),
    help="When the key has a task already; use_existing by default.",
)
@click.option(
    "--concurrency-key", type=text, metavar="KEY", help="Few of one key at once, as the queue says."
)
@click.option(
    "--depends-on",
    type=text,
    multiple=True,
    metavar="ID",
    help="Not before this task is completed; may be repeated.",
)
@click.option(
    "--label",
    "labels",
    type=pair,
    multiple=True,
    metavar="KEY=VALUE",
    help="To find it by; may be repeated.",
)
@click.option(
    "--header",
    "headers",
    type=pair,
    multiple=True,
    metavar="KEY=VALUE",
    help="Carried to the worker.",
)
@click.option("--content-type", type=text, metavar="TYPE", help="Media type of the payload.")
@click.option("--wait", is_flag=True, help="Wait for the tasks to end and show how.")
@click.option("--timeout", type=duration, help="Wait no longer than this.")
@connected
def enqueue(
    command: str,
    payload: str | None,
    content_type: str | None,
    connection: Connection,
    **options: Any,
) -> None:
    """Enqueue tasks of the kind COMMAND, one for each FILE.

    Without files it is one task, with the payload of --payload or none. Prints the ids of the
    tasks, with --wait how they ended; the exit code is 1 if one failed.
    """
    _check(options)
    inputs = _inputs(payload, content_type, options)
    if len(inputs) > 1 and options["idempotency_key"] is not None:
        raise click.UsageError("one --idempotency-key is for one task; there are several files")

    from codeq_grpc.cli.enqueuing import Enqueuing, spec_options

    enqueuing = Enqueuing(command, inputs, spec_options(options), as_json=connection.as_json)
    connection.run(
        lambda client: enqueuing.run(client, wait=options["wait"], timeout=options["timeout"])
    )
    if enqueuing.failures:
        raise click.exceptions.Exit(1)


def _check(options: dict[str, Any]) -> None:
    if options["timeout"] is not None and not options["wait"]:
        raise click.UsageError("--timeout goes with --wait")
    if options["expire_in"] is not None and options["expire_at"] is not None:
        raise click.UsageError("a task expires once: --expire-in or --expire-at")
    for name in ("idempotency_ttl", "on_conflict"):
        if options[name] is not None and options["idempotency_key"] is None:
            raise click.UsageError(f"--{name.replace('_', '-')} goes with --idempotency-key")


def _inputs(payload: str | None, content_type: str | None, options: dict[str, Any]) -> list[Input]:
    from codeq_grpc.cli import inputs

    names = [*options["files"], *options["inputs"]]
    if options["files_from"] is not None:
        if options["files_from"] == inputs.STDIN and inputs.STDIN in names:
            raise click.UsageError("standard input can be read only once")
        names += inputs.names_from(options["files_from"])
    elif not names:
        return [inputs.from_payload(payload, content_type)]
    if payload is not None:
        raise click.UsageError("a task has one payload: --payload or a file")
    return inputs.from_files(names, content_type)
