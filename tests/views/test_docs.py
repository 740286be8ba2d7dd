import gzip
import subprocess
import sys
import zipfile

import pytest
import yaml

from service.packed import PACKAGE, packed
from service.views.docs import EXPLORER_POLICY

VENDOR = PACKAGE / "static" / "vendor"


async def test_the_yaml_is_the_file_of_the_project(client):
    response = await client.get("/openapi.yaml")
    assert response.status == 200
    assert response.content_type == "application/yaml"
    assert await response.read() == packed("openapi.yaml").read_bytes()


async def test_the_json_says_the_same_as_the_yaml(client):
    response = await client.get("/openapi.json")
    assert response.content_type == "application/json"
    assert await response.json() == yaml.safe_load(packed("openapi.yaml").read_bytes())


@pytest.mark.parametrize("path", ["/openapi.yaml", "/openapi.json"])
async def test_who_has_the_description_is_not_sent_it_again(client, path):
    first = await client.get(path)
    again = await client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, await again.read()) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    other = await client.get(path, headers={"If-None-Match": '"another"'})
    assert other.status == 200


async def test_the_description_is_packed_for_who_takes_it(client):
    small = await client.get("/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert small.headers["Content-Encoding"] == "gzip"
    plain = await client.get("/openapi.json", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert "Accept-Encoding" in plain.headers["Vary"]


@pytest.mark.parametrize("path", ["/openapi.yaml", "/openapi.json", "/docs"])
async def test_head_has_no_body(client, path):
    response = await client.head(path)
    assert (response.status, await response.read()) == (200, b"")


async def test_the_explorer_brings_its_own_policy_and_nothing_inline(client):
    response = await client.get("/docs")
    assert response.content_type == "text/html"
    assert response.headers["Content-Security-Policy"] == EXPLORER_POLICY
    assert "script-src 'self';" in EXPLORER_POLICY
    text = await response.text()
    assert "https://" not in text
    assert "<style" not in text
    assert "<script>" not in text


async def test_everything_the_explorer_needs_comes_from_here(client):
    text = await (await client.get("/docs")).text()
    for part in text.split('"'):
        if part.startswith("/static/"):
            assert (await client.get(part)).status == 200, part


@pytest.mark.parametrize("path", sorted(VENDOR.glob("*/*.gz")), ids=lambda path: path.name)
async def test_a_packed_twin_has_the_same_content(path):
    assert gzip.decompress(path.read_bytes()) == path.with_suffix("").read_bytes()


@pytest.mark.e2e
def test_the_wheel_has_the_description_the_migrations_and_the_explorer(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", tmp_path, PACKAGE.parent],
        capture_output=True,
        text=True,
        check=False,
    )
    if "No matching distribution found for hatchling" in done.stderr:
        pytest.skip("the build backend cannot be had here")
    assert done.returncode == 0, done.stderr
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "service/_data/openapi.yaml" in names
    assert "service/_data/migrations/versions/0001_first.py" in names
    assert any(name.endswith("swagger-ui-bundle.js") for name in names)
