"""What a cluster holds for a person: objects made from one template that a site may change. Pure.

Rules kept here:
- the template is parsed before anything is put into it, and values go into texts only: no user id becomes YAML;
- the first object is the Namespace, and its name is the one of the user id; objects of other namespaces are refused,
  so that a mistyped template writes into nobody else's;
- two people never share an object without a namespace: its name must have ``${namespace}`` in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from string import Template as Text
from typing import Any

import yaml

from k8s_annotations.namespaces import PREFIX
from k8s_annotations.plain_yaml import Loader, find_excess

from .identity import Identity
from .lists import Person

Object = dict[str, Any]


class InvalidTemplate(ValueError):
    """The template cannot be used. `str()` is one plain sentence."""


class Template:
    """Makes a person's objects.

    Args:
        text: YAML documents; None for the package's own.

    Raises:
        InvalidTemplate: it cannot be used for anybody.
    """

    def __init__(self, text: str | None = None) -> None:
        if text is None:
            text = files(__package__).joinpath("template.yaml").read_text()
        try:
            if find_excess(text.encode("utf-8", "surrogatepass")) is not None:
                raise InvalidTemplate("The template has a YAML alias, or is nested too deep.")
            documents = [each for each in yaml.load_all(text, Loader=Loader) if each is not None]
        except (yaml.YAMLError, UnicodeError) as error:
            mark = getattr(error, "problem_mark", None)
            raise InvalidTemplate(f"The template is not valid YAML (line {mark.line + 1 if mark else 1}).") from None
        self._documents = documents
        if not documents or not all(map(_is_object, documents)) or documents[0]["kind"] != "Namespace":
            raise InvalidTemplate("The template is not a Namespace and, after it, other objects of Kubernetes.")
        self.objects(Person("somebody", Identity(1000, 1000)))

    def objects(self, person: Person, prefix: str = PREFIX) -> list[Object]:
        """The objects of a person, the Namespace first, without the list of directories.

        Raises:
            InvalidTemplate: one of them is not this person's, or asks for what is not known of them.
        """
        identity = person.identity
        values = {"user": person.userid, "namespace": person.namespace}
        if identity is not None:
            groups = ",".join(map(str, identity.groups))
            values |= {"uid": str(identity.uid), "gid": str(identity.gid), "groups": groups}
        objects = [_filled(each, values) for each in self._documents]
        for made, written in zip(objects, self._documents, strict=True):
            _check_is_theirs(made, written, person)
        metadata = objects[0]["metadata"]
        marks = {f"{prefix}/user": "true"}
        metadata["labels"] = {**(metadata.get("labels") or {}), **person.labels, **marks}
        metadata["annotations"] = {
            **(metadata.get("annotations") or {}),
            **(identity.annotations(prefix) if identity is not None else {}),
            f"{prefix}/userid": person.userid,
        }
        return objects


def fingerprint(objects: list[Object]) -> str:
    """A short text that changes when one of the objects does."""
    text = json.dumps(objects, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _is_object(document: Any) -> bool:
    metadata = document.get("metadata") if isinstance(document, dict) else None
    return (
        isinstance(metadata, dict)
        and all(isinstance(document.get(key), str) for key in ("apiVersion", "kind"))
        and isinstance(metadata.get("name"), str)
        and all(isinstance(metadata.get(key) or {}, dict) for key in ("labels", "annotations"))
    )


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        try:
            return Text(value).substitute(values)
        except KeyError as error:
            known = error.args[0] in {"uid", "gid", "groups"}
            told = "which is not known of this person: give it" if known else "which is not known"
            raise InvalidTemplate(f"The template asks for ${{{error.args[0]}}}, {told}.") from None
        except ValueError:
            raise InvalidTemplate("The template has a $ that is no ${...}. Write $$ for a $.") from None
    if isinstance(value, dict):
        return {key: _filled(each, values) for key, each in value.items()}
    return [_filled(each, values) for each in value] if isinstance(value, list) else value


def _check_is_theirs(made: Object, written: Object, person: Person) -> None:
    kind, metadata = made["kind"], made["metadata"]
    if kind == "Namespace":
        if metadata["name"] != person.namespace:
            raise InvalidTemplate("The Namespace of the template must have the name ${namespace}.")
        return
    if "namespace" in metadata:
        if metadata["namespace"] != person.namespace:
            raise InvalidTemplate(f"The {kind} {metadata['name']} must have the namespace ${{namespace}}.")
    elif "${namespace}" not in written["metadata"]["name"]:
        raise InvalidTemplate(
            f"The {kind} {metadata['name']} must have ${{namespace}} as its namespace or in its name."
        )
