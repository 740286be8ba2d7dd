"""What openapi.yaml says against what the running service does, by requests that schemathesis makes up."""

import json
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.corpus import make

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
OPENAPI = yaml.load((ROOT / "openapi.yaml").read_bytes(), yaml.CSafeLoader)
SCOPES = ["upload", "read", "delete", "admin"]

# Whether a request is good cannot be said by its schema alone where the service looks at more: the bytes of an mp3, a
# cursor, which only another page can give, a time that must lie in the future, the name of a file that exists, the
# version that If-Match names, which fields of tus go together.
CONFIG = """
hooks = "hooks.py"

[[operations]]
include-operation-id = [
    "listTracks", "probeTracks", "upload", "uploadByName", "makeToken", "changeTrack", "changePassword", "readStatic",
    "createUpload", "appendToUpload", "chooseCover",
    "listCollections", "listItems", "makeCollection", "changeCollection", "deleteCollection", "addToCollection",
    "arrangeCollection", "removeItem", "downloadArchive", "probeArchive",
]
checks.positive_data_acceptance.enabled = false

[[operations]]
include-operation-id = ["changeCollection", "arrangeCollection"]
checks.missing_required_header.expected-statuses = ["401", "428"]

[[operations]]
include-operation-id = ["createUpload", "appendToUpload", "readUpload", "askOffset", "terminateUpload"]
checks.negative_data_rejection.expected-statuses = ["4xx"]

[checks]
# A track that was deleted lies in the trash and is still there, to be seen and restored.
use_after_free.enabled = false
"""

HOOKS = """
import schemathesis

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
"""


def run_schemathesis(server, directory, *arguments):
    """The exit code and the report of one run; it ends within a minute and is the same every time."""
    config = directory / "schemathesis.toml"
    config.write_text(CONFIG)
    (directory / "hooks.py").write_text(HOOKS)
    done = subprocess.run(
        [
            Path(sys.executable).parent / "schemathesis",
            f"--config-file={config}",
            "run",
            f"{server.base_url}/openapi.json",
            "--phases=examples,coverage,fuzzing,stateful",
            "--max-examples=15",
            "--seed=20261122",
            "--workers=1",
            "--request-timeout=10",
            "--warnings=off",
            "--no-color",
            *arguments,
        ],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def make_token(server):
    """An API token with all scopes; it has no session that a request could end."""
    body = json.dumps({"name": "contract", "scopes": SCOPES}).encode()
    headers = {**server.auth, "Content-Type": "application/json"}
    with urlopen(Request(f"{server.base_url}/tokens", body, headers)) as answer:
        return json.load(answer)["token"]


def test_who_has_a_token_meets_nothing_undocumented(make_server, tmp_path):
    server = make_server()
    for name in ("vbr", "jingle", "mono"):
        assert server.curl("/spool/", "-T", make(tmp_path, name)).status == 201
    exit_code, report = run_schemathesis(server, tmp_path, f"--header=Authorization: Bearer {make_token(server)}")
    assert exit_code == 0, report
    assert "Traceback" not in server.log


def test_who_is_nobody_meets_nothing_undocumented(make_server, tmp_path):
    server = make_server()
    exit_code, report = run_schemathesis(server, tmp_path)
    assert exit_code == 0, report
    assert "Traceback" not in server.log


def closed(schema):
    """The schema of an answer with no room for members it does not name."""
    return {**schema, "components": OPENAPI["components"], "unevaluatedProperties": False}


def test_a_receipt_has_the_members_it_is_said_to_have_and_no_others(server, tmp_path):
    """Generated bodies are no mp3, so the answers that need one are looked at here."""
    receipt = server.curl("/spool/", "-T", make(tmp_path, "vbr"))
    assert receipt.status == 201
    documented = OPENAPI["components"]["responses"]["Receipt"]["headers"]
    # Those of resumable uploads are for who sent Upload-Complete, and these bytes are new.
    always = {name for name in documented if not name.startswith("Upload-") and name != "Link"}
    assert {name.lower() for name in always} <= receipt.headers.keys()
    track = receipt.json()
    Draft202012Validator(closed({"$ref": "#/components/schemas/Track"})).validate(track)
    Draft202012Validator(closed({"$ref": "#/components/schemas/AudioReport"})).validate(track["audio"])
    page = server.curl("/tracks?fields=id,title&count=exact").json()
    Draft202012Validator(closed({"$ref": "#/components/schemas/TrackPage"})).validate(page)
    for path, schema in {"/me": "Profile", "/sessions": "SessionList", "/readyz": "Readiness"}.items():
        Draft202012Validator(closed({"$ref": f"#/components/schemas/{schema}"})).validate(server.get_json(path))


def test_a_form_of_several_files_is_answered_as_documented(server, tmp_path):
    good, bad = make(tmp_path, "vbr"), tmp_path / "notes.txt"
    bad.write_text("These are words and no frames. " * 1000)
    answer = server.curl("/tracks", "-F", f"mp3=@{good}", "-F", f"file=@{bad}")
    assert answer.status == 207
    Draft202012Validator(closed({"$ref": "#/components/schemas/FormReceipt"})).validate(answer.json())
    assert [item["status"] for item in answer.json()["items"]] == [201, 415]


@pytest.mark.parametrize(("start", "stop"), [(0, 99), (100, None)])
def test_ranges_have_the_headers_they_are_said_to_have(server, tmp_path, start, stop):
    track = server.curl("/spool/", "-T", make(tmp_path, "vbr")).json()
    span = f"{start}-{'' if stop is None else stop}"
    answer = server.curl(f"/tracks/{track['id']}/audio", "-H", f"Range: bytes={span}")
    assert answer.status == 206
    documented = OPENAPI["paths"]["/tracks/{track_id}/audio"]["get"]["responses"]["206"]["headers"]
    assert {name.lower() for name in documented} <= answer.headers.keys()


def test_the_examples_of_the_description_fit_their_schemas():
    def walk(node):
        if isinstance(node, dict):
            if "schema" in node and "example" in node:
                yield node["schema"], node["example"]
            if isinstance(node.get("examples"), list):
                yield from ((node, example) for example in node["examples"])
            for value in node.values():
                yield from walk(value)
        elif isinstance(node, list):
            for value in node:
                yield from walk(value)

    count = 0
    for schema, example in walk(OPENAPI):
        Draft202012Validator({**schema, "components": OPENAPI["components"]}).validate(example)
        count += 1
    assert count > 15
