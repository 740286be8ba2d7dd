"""Code and documents say the same: routes, parameters, schemas, problems, settings, metrics, vendored files.

`python -m tests.test_documented` writes the table of settings into README.md.
"""

import dataclasses
import hashlib
import re
from pathlib import Path

import click
import pytest
import yaml
from aiohttp import web
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from openapi_spec_validator import validate

from service.app import build_app
from service.catalogue.facets import FACETS
from service.catalogue.listing import FIELDS
from service.cli.upload import upload
from service.metrics import Metrics
from service.schemas.accounts import (
    LoginSchema,
    NewTokenSchema,
    PasswordSchema,
    ProfileSchema,
    QuotaSchema,
    SessionSchema,
    TokenSchema,
    UserSchema,
)
from service.schemas.collections import (
    COLLECTION_FIELDS,
    AddSchema,
    CollectionChangeSchema,
    CollectionSchema,
    NewCollectionSchema,
    OrderSchema,
)
from service.schemas.tracks import ChangeSchema, TrackSchema
from service.schemas.uploads import UploadSchema
from service.settings import Settings
from service.views.collections import ITEM_RULES
from service.views.collections import RULES as COLLECTION_RULES
from service.views.facets import CONTROLS, DEFAULT
from service.views.listing import RULES
from service.web.problems import BY_CODE

ROOT = Path(__file__).parents[1]
OPENAPI = yaml.load((ROOT / "openapi.yaml").read_bytes(), yaml.CSafeLoader)
COMPONENTS = OPENAPI["components"]
METHODS = ("get", "head", "post", "put", "patch", "delete", "options")


def operations():
    return {
        (method.upper(), path): operation
        for path, item in OPENAPI["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def resolve(node):
    while "$ref" in node:
        target = OPENAPI
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def test_the_description_is_valid_openapi():
    validate(OPENAPI)


# Routes


@pytest.fixture(scope="module")
def routes(tmp_path_factory):
    app = build_app(Settings(data_dir=tmp_path_factory.mktemp("data")))
    found = set()
    for resource in app.router.resources():
        for route in resource:
            assert isinstance(route.handler, type), f"{resource.canonical} is answered by a function"
            assert issubclass(route.handler, web.View)
            names = [name for name in METHODS if hasattr(route.handler, name)]
            found |= {(name.upper(), resource.canonical) for name in names}
    return found


def test_every_route_is_documented(routes):
    """HEAD is said once for all: every GET answers it. It is described by itself where it has a use of its own."""
    documented = set(operations())
    implied = {("HEAD", path) for method, path in documented if method == "GET"}
    assert routes - documented - implied == set()


def test_every_documented_operation_exists(routes):
    assert set(operations()) - routes == set()


def test_every_get_answers_head(routes):
    assert {path for method, path in routes if method == "GET"} <= {path for method, path in routes if method == "HEAD"}


def test_every_route_goes_by_its_scheme(routes):
    """`security: []` is said of every operation that asks for nobody, and of no other; OPTIONS never does."""
    open_to_all = {key for key, operation in operations().items() if operation.get("security") == []}
    assert {key for key in operations() if key[0] == "OPTIONS"} <= open_to_all
    open_to_all = {path for method, path in open_to_all if method != "OPTIONS"}
    assert open_to_all == {
        "/login",
        "/livez",
        "/readyz",
        "/openapi.yaml",
        "/openapi.json",
        "/docs",
        "/problems/{code}",
        "/static/{name}",
    }


@pytest.mark.parametrize(("key", "operation"), operations().items(), ids=lambda value: " ".join(value)[:40])
def test_every_operation_is_described_in_full(key, operation):
    assert operation["summary"]
    assert operation["tags"][0] in {tag["name"] for tag in OPENAPI["tags"]}
    for status, reference in operation["responses"].items():
        response = resolve(reference)
        assert response["description"]
        assert "X-Request-ID" in response["headers"], status
        if status in ("429", "503") and key[1] != "/readyz":
            assert "Retry-After" in response["headers"]
        if status == "401":
            assert "WWW-Authenticate" in response["headers"]
        if status == "303":
            assert "Location" in response["headers"]
    item = OPENAPI["paths"][key[1]]
    declared = {resolve(each)["name"] for each in [*item.get("parameters", []), *operation.get("parameters", [])]}
    assert set(re.findall(r"{(\w+)}", key[1])) <= declared


def test_operation_ids_are_unique():
    names = [operation["operationId"] for operation in operations().values()]
    assert len(names) == len(set(names))


def test_every_component_is_used():
    text = (ROOT / "openapi.yaml").read_text()
    for kind in ("schemas", "responses", "parameters", "headers"):
        for name in COMPONENTS[kind]:
            assert f"#/components/{kind}/{name}'" in text, f"{kind}/{name}"


# The listing


def test_the_query_parameters_of_the_listing_are_the_documented_ones():
    described = [resolve(each) for each in OPENAPI["paths"]["/tracks"]["get"]["parameters"]]
    assert sorted(each["name"] for each in described if each["in"] == "query") == sorted(RULES.parameters)


def test_the_query_parameters_of_the_facets_are_the_filters_of_the_listing():
    described = [resolve(each) for each in OPENAPI["paths"]["/tracks/facets"]["get"]["parameters"]]
    names = [*RULES.filters, *RULES.families, *CONTROLS]
    assert sorted(each["name"] for each in described if each["in"] == "query") == sorted(names)
    assert tuple(described[0]["schema"]["items"]["enum"]) == FACETS
    assert tuple(described[0]["schema"]["default"]) == DEFAULT


def test_the_members_that_can_be_asked_for_are_the_documented_ones():
    assert tuple(COMPONENTS["parameters"]["Fields"]["schema"]["items"]["enum"]) == FIELDS
    assert tuple(COMPONENTS["schemas"]["SomeTrack"]["properties"]) == FIELDS
    assert tuple(COMPONENTS["schemas"]["Track"]["required"]) == FIELDS


def test_the_sorts_are_the_documented_ones():
    described = COMPONENTS["parameters"]["Sort"]["schema"]["items"]["enum"]
    assert described == [sign + name for name in RULES.sorts for sign in ("", "-")]


@pytest.mark.parametrize(
    ("path", "rules"), [("/collections", COLLECTION_RULES), ("/collections/{collection_id}/tracks", ITEM_RULES)]
)
def test_what_other_listings_can_be_asked_is_documented(path, rules):
    described = {each["name"]: each for each in map(resolve, OPENAPI["paths"][path]["get"]["parameters"])}
    assert sorted(name for name, each in described.items() if each["in"] == "query") == sorted(rules.parameters)
    assert tuple(described["fields"]["schema"]["items"]["enum"]) == rules.fields
    sorts = [sign + name for name in rules.sorts for sign in ("", "-")]
    assert described["sort"]["schema"]["items"]["enum"] == sorts
    assert described["sort"]["schema"]["default"] == [rules.default_sort]


def test_a_collection_has_all_its_members():
    assert tuple(COMPONENTS["schemas"]["Collection"]["required"]) == COLLECTION_FIELDS


# Schemas

REQUESTS = {
    "Login": LoginSchema,
    "PasswordChange": PasswordSchema,
    "NewToken": NewTokenSchema,
    "TrackChange": ChangeSchema,
    "NewCollection": NewCollectionSchema,
    "CollectionChange": CollectionChangeSchema,
    "Addition": AddSchema,
    "Order": OrderSchema,
}
ANSWERS = {
    "User": UserSchema,
    "Quota": QuotaSchema,
    "Profile": ProfileSchema,
    "Session": SessionSchema,
    "Token": TokenSchema,
    "SomeTrack": TrackSchema,
    "Upload": UploadSchema,
    "Collection": CollectionSchema,
}
COMPARED = ("type", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "default")


@pytest.fixture(scope="module")
def generated():
    """What apispec makes of the marshmallow schemas."""
    spec = APISpec(title="", version="", openapi_version="3.1.0", plugins=[MarshmallowPlugin()])
    for name, schema in {**REQUESTS, **ANSWERS}.items():
        spec.components.schema(name, schema=schema)
    return spec.to_dict()["components"]["schemas"]


def members(name):
    """A component's own properties and those of what it is made of."""
    component = COMPONENTS["schemas"][name]
    properties = dict(component.get("properties", {}))
    for part in component.get("allOf", []):
        properties |= members(part["$ref"].rsplit("/")[-1]) if "$ref" in part else part["properties"]
    return properties


@pytest.mark.parametrize("name", REQUESTS)
def test_what_a_request_may_say_is_what_its_schema_takes(generated, name):
    described, made = COMPONENTS["schemas"][name], generated[name]
    assert described["additionalProperties"] is made["additionalProperties"] is False
    assert set(described.get("required", [])) == set(made.get("required", []))
    assert described["properties"].keys() == made["properties"].keys()
    for member, text in described["properties"].items():
        ours, theirs = resolve(text), made["properties"][member]
        for fact in COMPARED:
            if fact == "default" and theirs.get(fact) is None:
                continue
            expected = theirs.get(fact)
            assert ours.get(fact) == expected or (fact == "type" and set(ours[fact]) == set(expected)), (member, fact)


@pytest.mark.parametrize("name", ANSWERS)
def test_what_an_answer_says_is_what_its_schema_gives(generated, name):
    assert members(name).keys() == generated[name]["properties"].keys()


# Problems


def test_every_problem_code_is_documented_and_explained():
    assert COMPONENTS["schemas"]["ProblemCode"]["enum"] == sorted(BY_CODE)
    text = (ROOT / "openapi.yaml").read_text()
    for code, problem in BY_CODE.items():
        assert problem.title
        assert len(problem.help) > 20, code
        assert f"`{code}`" in text or code in NOT_YET, code


NOT_YET = {"frontend-unavailable"}
"""Codes of the front end, which is no route: in the list only."""


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_a_code_is_documented_with_its_own_status(code):
    for key, operation in operations().items():
        for status, reference in operation["responses"].items():
            if f"`{code}`" in resolve(reference)["description"]:
                assert BY_CODE[code].status == int(status), key


# Settings


def settings_rows() -> list[str]:
    """The table of README.md: variable, default, what it is for."""
    rows = ["| variable | default | |", "|---|---|---|"]
    for each in dataclasses.fields(Settings):
        default = "" if each.default is None or each.default == () else f"`{shown(each.default)}`"
        rows.append(f"| `YARRR_{each.name.upper()}` | {default} | {each.metadata['help']} |")
    return rows


def shown(value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def test_every_setting_is_in_the_readme():
    lines = (ROOT / "README.md").read_text().splitlines()
    missing = [row for row in settings_rows() if row not in lines]
    assert missing == [], "run python -m tests.test_documented"


def test_the_readme_names_no_setting_that_is_none():
    named = set(re.findall(r"YARRR_[A-Z0-9_]*[A-Z0-9]", "".join(path.read_text() for path in documents())))
    known = {f"YARRR_{each.name.upper()}" for each in dataclasses.fields(Settings)}
    secret = {f"YARRR_{each.name.upper()}_FILE" for each in dataclasses.fields(Settings) if each.metadata["secret"]}
    given = {option.envvar for option in upload.params if isinstance(option, click.Option) and option.envvar}
    tests = "".join(path.read_text() for path in (ROOT / "tests" / "e2e").glob("test_*.py"))
    for_tests = set(re.findall(r"environ\.get\(\"(YARRR_TEST_\w+)\"", tests))
    assert named - known - secret - given - for_tests == set()


def documents():
    return [ROOT / "README.md", ROOT / "openapi.yaml", *(ROOT / "docs").glob("*.md")]


# Metrics


def test_every_metric_is_documented():
    text = (ROOT / "docs" / "metrics.md").read_text()
    families = [family for family in Metrics().registry.collect() if family.name.startswith("yarrr_")]
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        row = next((line for line in text.splitlines() if line.startswith(f"| `{name}` | {family.type} |")), None)
        assert row is not None, name
        labels = getattr(Metrics(), family.name.removeprefix("yarrr_").removesuffix("_seconds"), None)
        for label in getattr(labels, "_labelnames", ()):
            assert f"`{label}`" in row
    documented = set(re.findall(r"^\| `(yarrr_\w+)`", text, re.MULTILINE))
    assert len(documented) == len(families)


# Links between documents, and files of others


@pytest.mark.parametrize("path", documents()[:1] + documents()[2:], ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_vendored_files_are_unchanged():
    for sums in (ROOT / "service" / "static" / "vendor").glob("*/SHA256SUMS"):
        listed = dict(reversed(line.split()) for line in sums.read_text().splitlines())
        there = {path.name for path in sums.parent.iterdir() if path.suffix != ".gz"} - {"SHA256SUMS"}
        assert there == set(listed)
        for name, digest in listed.items():
            assert hashlib.sha256((sums.parent / name).read_bytes()).hexdigest() == digest


if __name__ == "__main__":
    readme = ROOT / "README.md"
    table = "\n".join(settings_rows())
    text, count = re.subn(
        r"(<!-- settings -->\n).*?(<!-- /settings -->)",
        lambda match: f"{match[1]}{table}\n{match[2]}",
        readme.read_text(),
        flags=re.DOTALL,
    )
    assert count == 1
    readme.write_text(text)
