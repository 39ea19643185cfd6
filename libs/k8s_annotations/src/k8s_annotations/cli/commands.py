"""The verbs that change something: `grant`, `revoke`, `create`, `apply`.

Rules kept here:
- each difference is printed in the form of `diff -u`; with --dry-run nothing is written;
- an interrupted run can simply be repeated: what is already there is not written again;
- people with a mistake in the list are reported and left out; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from k8s_annotations.cluster.connection import Where
from k8s_annotations.errors import AnnotationError
from k8s_annotations.grants.items import KEYS
from k8s_annotations.namespaces import Namespace
from k8s_annotations.people import InvalidIdentity, InvalidTemplate, Template, read_people
from k8s_annotations.people.identity import Identity, read_identity
from k8s_annotations.untrusted_text import escaped

from .changes import Change, Plan, Refused, granting, planned, revoking
from .stores import ClusterStore, FileStore, Store, applied
from .users import Site

FAILED = 1
_LONGEST = 64 * 2**20  # bytes of a list of people, or of a template


def grant(options: argparse.Namespace, site: Site) -> int:
    """Add a directory to somebody's list, or change the entry."""
    wanted = {key: getattr(options, key) for key in KEYS if key not in {"path", "access", "default"}}
    wanted = {key: value for key, value in wanted.items() if value is not None}
    wanted |= {"access": options.access} if options.access else {}
    wanted |= {"default": "true"} if options.default else {}
    return _change(options, site, lambda namespace: granting(options.user, namespace, site, options.directory, wanted))


def revoke(options: argparse.Namespace, site: Site) -> int:
    """Take a directory from somebody."""
    return _change(options, site, lambda namespace: revoking(options.user, namespace, site, options.directory))


def create(options: argparse.Namespace, site: Site) -> int:
    """Make one person."""
    groups = options.groups or ""
    if (options.uid is None) != (options.gid is None) or (groups and options.uid is None):
        raise Refused("Give --uid and --gid together, and --groups with them.")
    identity: Identity | None
    if options.uid is not None:
        identity = read_identity(options.uid, options.gid, groups)
    else:
        identity, problem = _account(options.user)
        if problem:
            note(problem)
    values: dict[str, object] = {"user": options.user}
    values |= {"directories": options.directory} if options.directory else {}
    values |= {"labels": dict(pair.partition("=")[::2] for pair in options.label)}
    listed = read_people(json.dumps([values]), table=False, roots=site.roots, prefix=site.prefix)  # the same rules
    if listed.problems:
        raise Refused(listed.problems[0][1])
    person = replace(listed.people[0], identity=identity)
    store = _store(options)
    plan = planned(person, store.read(person.userid), _template(options), site)
    if not plan.changes:
        sys.stdout.write(f"{escaped(person.userid)}: nothing to change.\n")
    else:
        sys.stdout.write(_safe(store.make(plan, site, dry_run=options.dry_run, tell=True)))
    store.finish(dry_run=options.dry_run)
    return 0


def apply(options: argparse.Namespace, site: Site) -> int:
    """Bring everybody on a list to what the list says."""
    text = _text_of(options.people)
    table = options.people.suffix == ".csv"
    listed = read_people(text, table=table, roots=site.roots, prefix=site.prefix)
    failed = [f"{options.people}:{line}: {problem}" for line, problem in listed.problems]
    store, template = _store(options), _template(options)
    there = store.everybody()
    plans: list[Plan] = []
    for person in listed.people:
        try:
            plans.append(planned(person, there.get(person.namespace), template, site))
        except (Refused, InvalidTemplate) as error:
            failed.append(str(error))
    changed = [plan for plan in plans if plan.changes]
    for plan in changed:
        sys.stdout.write(f"{escaped(plan.person.userid)}: {escaped(', '.join(plan.changes))}\n")
    sys.stdout.flush()
    if isinstance(store, FileStore):
        for plan in changed:
            try:
                store.make(plan, site, dry_run=options.dry_run, tell=False)
            except Refused as error:
                failed.append(str(error))
    elif not options.dry_run:
        failed += _in_parallel(changed, lambda plan: store.make(plan, site, dry_run=False, tell=False), options.jobs)
    store.finish(dry_run=options.dry_run)
    new = sum(plan.changes == ("new",) for plan in changed)
    would = "would be " if options.dry_run else ""
    sys.stdout.write(
        f"{new:,} {would}new, {len(changed) - new:,} {would}changed, {len(plans) - len(changed):,} as they were,"
        f" {len(failed):,} with a mistake.\n"
    )
    for each in failed:
        note(each)
    return FAILED if failed else 0


def _change(options: argparse.Namespace, site: Site, decide: Callable[[Namespace], Change]) -> int:
    store = _store(options)
    change, told = applied(store, options.user, site, decide, dry_run=options.dry_run)
    sys.stdout.write(_safe(told) or f"{escaped(options.user)}: nothing to change.\n")
    store.finish(dry_run=options.dry_run)
    for each in change.notes:
        note(each)
    return 0


def _in_parallel(plans: list[Plan], make: Callable[[Plan], str], jobs: int) -> list[str]:
    """Run `make` for several plans at a time. Returns one sentence for each that failed."""
    failed = []
    with ThreadPoolExecutor(jobs) as pool:
        asked = {pool.submit(make, plan): plan.person.userid for plan in plans}
        try:
            for done in _with_progress(as_completed(asked), len(plans)):
                error = done.exception()
                if isinstance(error, AnnotationError):
                    failed.append(f"{asked[done]}: {error}")
                elif error is not None:
                    raise error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return failed


def _with_progress(each: Iterable[Future[str]], count: int) -> Iterator[Future[str]]:
    """Yield the same futures, and show the progress if stderr is a terminal."""
    for number, one in enumerate(each, 1):
        if sys.stderr.isatty() and (number % 25 == 0 or number == count):
            sys.stderr.write(f"\r{number:,} of {count:,}" + ("\n" if number == count else ""))
            sys.stderr.flush()
        yield one


def _store(options: argparse.Namespace) -> Store:
    if options.file is not None:
        return FileStore(options.file)
    return ClusterStore(Where(options.kubeconfig, options.context), take_over=options.take_over)


def _template(options: argparse.Namespace) -> Template:
    return Template(_text_of(options.template) if options.template is not None else None)


def _text_of(path: Path) -> str:
    """The text of a file, or of standard input for "-"."""
    try:
        content = sys.stdin.buffer.read(_LONGEST + 1) if str(path) == "-" else path.read_bytes()
        if len(content) > _LONGEST:
            raise Refused(f"{path} is larger than {_LONGEST} bytes.")
        return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None


def _account(userid: str) -> tuple[Identity | None, str]:
    """Look the user id up in this machine's accounts (as getent does). Returns an identity, or why there is none."""
    try:
        account = pwd.getpwnam(userid)
        groups = os.getgrouplist(userid, account.pw_gid)
    except (KeyError, OSError, ValueError):
        return None, f"There is no account {userid} here, so no uid is written. Pods need one: --uid."
    try:
        return read_identity(str(account.pw_uid), str(account.pw_gid), ",".join(map(str, groups))), ""
    except InvalidIdentity as error:
        return None, f"The account {userid} of this machine is not taken: {error}"


def _safe(text: str) -> str:
    """Escape whatever could control the terminal."""
    return "".join(f"{escaped(line)}\n" for line in text.removesuffix("\n").split("\n")) if text else ""


def note(text: str) -> None:
    """Write one line to stderr."""
    sys.stderr.write(f"k8s-annotations: {escaped(text)}\n")
