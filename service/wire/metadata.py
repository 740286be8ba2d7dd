"""The field ``Upload-Metadata`` of tus 1.0.0: keys, each with a Base64 value or none."""

import re
from base64 import b64decode
from binascii import Error
from collections.abc import Mapping

from service.errors import InvalidHeader

FIELD = "Upload-Metadata"

_KEY = re.compile(r"[!-+\--~]+\Z")  # visible ASCII without the comma


def parse(value: str) -> dict[str, str]:
    """The decoded values by their keys; a key without a value has an empty one.

    The texts are the client's and may hold anything: line ends, NUL, paths. Bytes that are no UTF-8 are replaced.

    Raises:
        InvalidHeader: a key is empty, not ASCII or there twice, or a value is not Base64.
    """
    found: dict[str, str] = {}
    for pair in value.split(",") if value.strip() else ():
        key, _, encoded = pair.strip(" \t").partition(" ")
        if not _KEY.match(key):
            raise InvalidHeader("A key of Upload-Metadata is empty or not visible ASCII.", field=FIELD)
        if key in found:
            raise InvalidHeader("A key of Upload-Metadata is there twice.", field=FIELD)
        found[key] = _decoded(encoded.strip(" \t"))
    return found


def _decoded(encoded: str) -> str:
    try:
        return b64decode(encoded.encode("ascii"), validate=True).decode("utf-8", "replace")
    except (Error, ValueError):
        raise InvalidHeader("A value of Upload-Metadata is not Base64.", field=FIELD) from None


def filename_of(metadata: Mapping[str, str]) -> str | None:
    """The file's name: most clients call it ``filename``, Uppy calls it ``name`` too."""
    return metadata.get("filename") or metadata.get("name") or None
