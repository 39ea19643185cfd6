"""The command ``k8s-annotations``: show, check and change lists of directories from a shell.

Rules kept here:
- what it reports about a list is exactly what the hub's menu would show; the verbs that change lists are in `commands`;
- errors are one line on stderr: never a traceback, even on Ctrl-C or a closed pipe;
- it exits with 0, 1 (`check` found something, `apply` left somebody out), 2 (wrong arguments), 3 (something could not
  be read or written), 130 (Ctrl-C) or 141 (closed pipe).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from k8s_annotations.cluster import ClusterReader
from k8s_annotations.errors import AnnotationError
from k8s_annotations.grants import Entry, Grants, InvalidPath, canonical_path, fold
from k8s_annotations.manifests import ManifestReader
from k8s_annotations.namespaces import PREFIX, Reader, user_namespace
from k8s_annotations.people import InvalidIdentity, InvalidTemplate
from k8s_annotations.untrusted_text import escaped

from . import commands
from .changes import Refused
from .findings import check_manifests, check_namespaces
from .output import formatted, table
from .users import Site, users

NAME = "k8s-annotations"
FOUND, USAGE, UNREADABLE, INTERRUPTED, PIPE_CLOSED = 1, 2, 3, 130, 141

_EPILOG = """examples:
  k8s-annotations get alice                     alice's annotations, and what they grant
  k8s-annotations who /s/shared/genomics        everybody who can open it
  k8s-annotations check namespaces.yaml         every bad entry in a file, with its line
  kubectl get ns -o yaml | k8s-annotations check -
  k8s-annotations create carol --directory /s/carol/notebooks
  k8s-annotations grant alice /s/shared/genomics --title "Genomics course" --access ro
  k8s-annotations revoke alice genomics --dry-run
  k8s-annotations apply people.csv              thousands at once; run it again at any time"""


class _UsageError(Exception):
    """The arguments are wrong. The message is one line."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{NAME}: {escaped(message).rstrip('.')}. Try '{self.prog} --help'.\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: without the program's name; None uses those of the process.

    Returns:
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # for terminals that can only show ASCII
    try:
        code = _run(_parser().parse_args(arguments))
        sys.stdout.flush()
    except SystemExit as end:  # from argparse: --help, or wrong arguments
        code = end.code if isinstance(end.code, int) else USAGE
    except (_UsageError, Refused, InvalidIdentity, InvalidTemplate) as error:
        code = _say(str(error), USAGE)
    except AnnotationError as error:
        code = _say(str(error), UNREADABLE)
    except KeyboardInterrupt:
        code = _say("Interrupted.", INTERRUPTED)
    except OSError as error:
        # Python flushes stdout once more when it exits, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        closed = isinstance(error, BrokenPipeError)
        code = PIPE_CLOSED if closed else _say(f"The output cannot be written: {error.strerror}.", UNREADABLE)
    except Exception as error:  # any error is one line: see the rules above
        code = _say(f"{type(error).__name__}: {error}", UNREADABLE)
    return code


def _say(message: str, code: int) -> int:
    commands.note(message)
    return code


def _run(options: argparse.Namespace) -> int:
    run: Callable[[argparse.Namespace, Site], int] = options.run
    if options.file is not None and (options.kubeconfig is not None or options.context is not None):
        raise _UsageError("Give a file or a cluster: --file cannot be combined with --kubeconfig or --context.")
    default = options.default_directory
    if default is None:
        default = f"{options.roots[0]}/{{userid}}/notebooks"
    return run(options, Site(options.prefix, options.roots, default))


def _reader(options: argparse.Namespace) -> Reader:
    if options.file is not None:
        return ManifestReader(options.file)
    return ClusterReader(kubeconfig=options.kubeconfig, context=options.context)


def _get(options: argparse.Namespace, site: Site) -> int:
    namespace = user_namespace(_reader(options), options.user, site.prefix)
    if options.output != "table":
        sys.stdout.write(formatted(dict(sorted(namespace.annotations.items())), options.output))
        return 0
    grants = site.grants(options.user, namespace)
    rows = [[entry.name, entry.path, entry.access, _source(entry), entry.problem or ""] for entry in grants.entries]
    sys.stdout.write(table(["ANNOTATION", "VALUE"], sorted(namespace.annotations.items())))
    sys.stdout.write("\n" + table(["DIRECTORY", "PATH", "ACCESS", "FROM", "PROBLEM"], rows))
    for notice in grants.notices:
        sys.stdout.write(f"\n{escaped(notice)}\n")
    return 0


def _source(entry: Entry) -> str:
    return f"annotation, line {entry.line}" if entry.source == "annotation" else entry.source


def _all_grants(options: argparse.Namespace, site: Site) -> list[Grants]:
    namespaces = _reader(options).list(f"{site.prefix}/user=true")
    return sorted(users(namespaces, site), key=lambda grants: grants.userid)


def _list(options: argparse.Namespace, site: Site) -> int:
    counts: list[dict[str, object]] = [
        {"user": grants.userid, "directories": len(grants.usable), "bad": len(grants.entries) - len(grants.usable)}
        for grants in _all_grants(options, site)
    ]
    return _write(counts, ["user", "directories", "bad"], options.output)


def _who(options: argparse.Namespace, site: Site) -> int:
    everybody = _all_grants(options, site)
    try:
        folded = fold(options.directory)
        if options.directory.startswith("/"):
            paths = {canonical_path(options.directory, site.roots)}
        else:  # names differ between users: take every path that the name means to somebody
            meant = [pair for grants in everybody for pair in grants.meant(folded)]
            paths = {canonical_path(path, site.roots) for entry, path in meant if entry.problem is None}
    except InvalidPath as error:
        raise _UsageError(f"{options.directory!r} is neither a path nor a name. {error}") from None
    deciding = [(path, grants.userid, grants.nearest(path)) for path in sorted(paths) for grants in everybody]
    columns = ["user", "path", "access", "granted", "from"]
    found: list[dict[str, object]] = [
        dict(zip(columns, [userid, path, entry.access, entry.path, entry.source], strict=True))
        for path, userid, entry in deciding
        if entry is not None and entry.problem is None
    ]
    if not found:
        _say(f"Nobody can open {options.directory!r}.", 0)
    return _write(found, columns, options.output)


def _write(rows: Sequence[dict[str, object]], columns: Sequence[str], form: str) -> int:
    if form == "table":
        header = [column.upper() for column in columns]
        sys.stdout.write(table(header, [[str(row[column]) for column in columns] for row in rows]))
    else:
        sys.stdout.write(formatted(rows, form))
    return 0


def _check(options: argparse.Namespace, site: Site) -> int:
    file = options.manifests if options.manifests is not None else options.file
    if options.manifests is not None and (options.file, options.kubeconfig, options.context) != (None, None, None):
        raise _UsageError(
            "Give one file and no cluster: don't combine check FILE with --file, --kubeconfig or --context."
        )
    if file is None:
        findings = check_namespaces(_reader(options).list(), site)
    else:
        try:
            standard_input = str(file) == "-"
            text = sys.stdin.buffer.read() if standard_input else file.read_bytes()
        except (OSError, ValueError) as error:
            return _say(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}.", UNREADABLE)
        findings = check_manifests(text, "standard input" if standard_input else str(file), site)
    for finding in findings:
        sys.stdout.write(escaped(f"{finding.place}: {finding.user}: {finding.reason}") + "\n")
    return FOUND if findings else 0


def _common_options() -> _Parser:
    """The options that may come before or after the verb."""
    # With a default, the parser after the verb would overwrite options given before it.
    parser = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    add = parser.add_argument_group("where to read from and write to").add_argument
    add("--file", type=Path, metavar="FILE", help="use this file of Namespace manifests instead of a cluster")
    add("--kubeconfig", type=Path, metavar="FILE", help="the kubeconfig (default: service account or ~/.kube/config)")
    add("--context", metavar="NAME", help="the kubeconfig's context (default: its current one)")
    add("--prefix", type=_prefix, help=f"the prefix of the label and the annotations (default: {PREFIX})")
    add("--roots", type=_roots, metavar="DIR[:DIR...]", help="where all directories must lie (default: /s)")
    default = "for users whose namespace lists none (default: {userid}/notebooks below the first root)"
    add("--default-directory", metavar="DIR", help=default)
    return parser


def _parser() -> _Parser:
    parser = _Parser(
        prog=NAME,
        description="Show, check and change the notebook directories that users' namespaces grant.",
        epilog=_EPILOG,
        parents=[_common_options()],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{NAME} {version('k8s-annotations')}")
    nothing = dict.fromkeys(("file", "kubeconfig", "context", "default_directory"))
    parser.set_defaults(prefix=PREFIX, roots=("/s",), **nothing)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    def verb(name: str, run: Callable[[argparse.Namespace, Site], int], text: str) -> _Parser:
        made = verbs.add_parser(name, help=text, description=text, parents=[_common_options()])
        made.set_defaults(run=run)
        if run in (_get, _list, _who):
            made.add_argument("-o", "--output", choices=["json", "yaml", "table"], default="table")
        return made

    verb("get", _get, "show a user's annotations, and what they grant").add_argument("user", metavar="USER")
    verb("list", _list, "list all users, how many directories each has, and how many entries are bad")
    verb("who", _who, "list who can open a directory").add_argument("directory", metavar="PATH|NAME")
    checked = verb("check", _check, "list every bad entry: place, user, reason; exit code 1 if there are any")
    checked.add_argument("manifests", type=Path, nargs="?", metavar="FILE", help="a file of manifests; - for stdin")
    _add_changes(verb)
    return parser


def _add_changes(verb: Callable[..., _Parser]) -> None:
    """The verbs that change something."""
    grant = verb("grant", commands.grant, "add a directory to a user's list, or change its entry")
    grant.add_argument("user", metavar="USER")
    grant.add_argument("directory", metavar="PATH")
    grant.add_argument("--name", help="what people type (default: the last part of the path)")
    grant.add_argument("--title", help="what people read (default: the name)")
    grant.add_argument("--description", help="one line")
    grant.add_argument("--access", choices=["ro", "rw"], help="read only, or read and write (default: rw)")
    grant.add_argument("--default", action="store_true", help="preselect it when nothing else is")
    revoke = verb("revoke", commands.revoke, "take a directory away from a user: from the list and from the labels")
    revoke.add_argument("user", metavar="USER")
    revoke.add_argument("directory", metavar="PATH|NAME")
    create = verb("create", commands.create, "create a user's namespace, and whatever else a template has")
    create.add_argument("user", metavar="USER")
    create.add_argument("--directory", action="append", metavar="PATH", help="grant this directory; may be repeated")
    create.add_argument(
        "--label", action="append", default=[], metavar="KEY=VALUE", help="label the namespace; may be repeated"
    )
    create.add_argument("--uid", help="the user's number (default: that of the account on this machine)")
    create.add_argument("--gid", help="the number of the user's primary group")
    create.add_argument("--groups", metavar="GID,...", help="the numbers of further groups")
    apply = verb(
        "apply", commands.apply, "bring everybody on a list to what it says: people.yaml, people.csv or - (YAML)"
    )
    apply.add_argument("people", type=Path, metavar="FILE")
    apply.add_argument("--jobs", type=_jobs, default=8, metavar="N", help="how many people at a time (default: 8)")
    for each in (create, apply):
        each.add_argument("--template", type=Path, metavar="FILE", help="what each user gets (default: a namespace)")
    for each in (grant, revoke, create, apply):
        each.add_argument("--dry-run", action="store_true", help="show what would change, and write nothing")
        each.add_argument("--take-over", action="store_true", help="overwrite fields that another field manager owns")


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError("a number from 1 to 64")
    return int(text)


def _prefix(text: str) -> str:
    if not text or "/" in text or not text.isascii() or not text.isprintable():
        raise argparse.ArgumentTypeError("a prefix must be a DNS name such as learning-lab.dev")
    return text


def _roots(text: str) -> tuple[str, ...]:
    roots = tuple(text.split(":"))
    for root in roots:
        try:
            canonical = "/" + fold(root)
        except InvalidPath as error:
            raise argparse.ArgumentTypeError(f"{root!r}: {error}") from None
        if canonical != root or root == "/":
            raise argparse.ArgumentTypeError(f"{root!r} is not an absolute path in its simplest form, such as /s")
    return roots
