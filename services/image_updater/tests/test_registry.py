"""Asking a registry that speaks the wire format for a tag's digest: log-ins, and unusable answers."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from image_updater.registry import Image, Registry, UpdateError, addresses, credentials
from lab_testing.registry_double import HUB, MANIFEST, NEW, OLD, Wire, secured


@pytest.mark.parametrize(
    ("reference", "image"),
    [
        ("registry.example.com/lab/hub:staging", Image("registry.example.com", "lab/hub", "staging")),
        ("localhost:5001/learning-lab/hub:e2e", Image("localhost:5001", "learning-lab/hub", "e2e")),
        ("localhost/hub", Image("localhost", "hub", "latest")),
        ("registry:5000/hub", Image("registry:5000", "hub", "latest")),
        ("debian:bookworm", Image("registry-1.docker.io", "library/debian", "bookworm")),
        ("jupyterhub/jupyterhub", Image("registry-1.docker.io", "jupyterhub/jupyterhub", "latest")),
        ("docker.io/debian:12", Image("registry-1.docker.io", "library/debian", "12")),
        (f"registry.example.com/lab/hub@{OLD}", None),
        (f"registry.example.com/lab/hub:1@{OLD}", None),
    ],
)
def test_a_reference_is_parsed_as_docker_does(reference: str, image: Image | None) -> None:
    assert Image.parse(reference) == image


class TestRegistry:
    def test_the_digest_of_a_tag(self, wire: Wire) -> None:
        wire.tags[MANIFEST] = NEW
        assert Registry({HUB.registry: wire.url}, {}).digest(HUB) == NEW

    def test_a_log_in_by_password(self, wire: Wire) -> None:
        wire.tags[MANIFEST] = NEW
        wire.token, wire.challenge = "Basic " + base64.b64encode(b"bot:secret").decode(), 'Basic realm="x"'
        assert Registry({HUB.registry: wire.url}, {HUB.registry: "bot:secret"}).digest(HUB) == NEW

    @pytest.mark.parametrize("challenge", ['Bearer realm="http://{}/token",service="r"', "Negotiate", ""])
    def test_a_password_does_not_go_over_http_or_to_a_stranger(self, wire: Wire, challenge: str) -> None:
        wire.token, wire.challenge = "Bearer x", challenge.format(wire.url.removeprefix("http://"))
        with pytest.raises(UpdateError, match=r"requires a log-in\. Set UPDATE_CREDENTIALS"):
            Registry({HUB.registry: wire.url}, {HUB.registry: "bot:secret"}).digest(HUB)

    @pytest.mark.parametrize("answered", [{"token": "ticket"}, {"access_token": "ticket", "expires_in": 300}])
    def test_a_log_in_by_token(
        self, wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answered: dict[str, Any]
    ) -> None:
        authority = secured(wire, tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        wire.tags[MANIFEST] = NEW
        wire.token = "Bearer ticket"
        scope = "repository:lab/hub:pull"
        wire.challenge = f'Bearer realm="{wire.url}/token",service="registry.example.com",scope="{scope}"'
        wire.objects["/token?service=registry.example.com&scope=repository%3Alab%2Fhub%3Apull"] = answered
        assert Registry({HUB.registry: wire.url}, {HUB.registry: "bot:secret"}).digest(HUB) == NEW
        sent = [headers.get("Authorization") for headers in wire.asked]
        assert sent == [None, "Basic " + base64.b64encode(b"bot:secret").decode(), "Bearer ticket"]

    @pytest.mark.parametrize("answered", [{}, {"token": 5}, {"token": "a\nb"}, {"token": ""}, ["token"]])
    def test_a_log_in_that_gives_no_token_is_one_sentence(
        self, wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answered: Any
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(secured(wire, tmp_path).file))
        wire.token, wire.challenge = "Bearer ticket", f'Bearer realm="{wire.url}/token"'
        wire.objects["/token?"] = answered
        with pytest.raises(UpdateError, match=r"The log-in to registry\.example\.com failed: 200\. Check") as refused:
            Registry({HUB.registry: wire.url}, {}).digest(HUB)
        assert "\n" not in str(refused.value)

    def test_a_certificate_that_is_not_trusted_is_one_sentence(self, wire: Wire, tmp_path: Path) -> None:
        secured(wire, tmp_path)
        with pytest.raises(UpdateError, match="certificate verify failed") as refused:
            Registry({HUB.registry: wire.url}, {}).digest(HUB)
        assert "\n" not in str(refused.value)

    def test_a_password_does_not_go_over_http_to_another_machine(self, wire: Wire) -> None:
        wire.token, wire.challenge = "Basic x", 'Basic realm="x"'
        # This is this machine too, but at an address that is treated like any other.
        elsewhere = wire.url.replace("127.0.0.1", "127.0.0.2")
        with pytest.raises(UpdateError, match="requires a log-in"):
            Registry({HUB.registry: elsewhere}, {HUB.registry: "bot:secret"}).digest(HUB)
        assert [headers.get("Authorization") for headers in wire.asked] == [None]

    def test_a_redirect_is_not_followed(self, wire: Wire) -> None:
        wire.broken = 307
        with pytest.raises(UpdateError):
            Registry({HUB.registry: wire.url}, {}).digest(HUB)
        assert len(wire.asked) == 1

    @pytest.mark.parametrize(
        ("digest", "said"),
        [(None, "answered 404"), ("sha256:short", "without a digest"), ("md5:" + "a" * 64, "without a digest")],
    )
    def test_an_odd_answer_is_one_sentence(self, wire: Wire, digest: str | None, said: str) -> None:
        if digest:
            wire.tags[MANIFEST] = digest
        with pytest.raises(UpdateError, match=said):
            Registry({HUB.registry: wire.url}, {}).digest(HUB)

    def test_a_registry_that_is_down_is_one_sentence(self) -> None:
        with pytest.raises(UpdateError, match=r"cannot be reached: .*Is the registry up"):
            Registry({HUB.registry: "http://127.0.0.1:9"}, {}).digest(HUB)

    def test_registry_addresses_are_read_from_the_environment(self) -> None:
        assert addresses("localhost:5001=http://registry:5000/ b=https://c") == {
            "localhost:5001": "http://registry:5000",
            "b": "https://c",
        }

    @pytest.mark.parametrize("text", ["localhost:5001", "a=ftp://b", "=", "a="])
    def test_a_wrong_one_is_one_sentence(self, text: str) -> None:
        with pytest.raises(UpdateError, match="each part must be NAME=http"):
            addresses(text)

    def test_log_ins_come_from_a_docker_configuration(self, tmp_path: Path) -> None:
        file = tmp_path / "config.json"
        auth = base64.b64encode(b"bot:secret").decode()
        file.write_text(json.dumps({"auths": {"https://registry.example.com/v1/": {"auth": auth}, "x": {}}}))
        assert credentials(str(file)) == {"registry.example.com": "bot:secret"}

    def test_a_docker_hub_log_in_is_used_for_its_registrys_address(self, tmp_path: Path) -> None:
        file = tmp_path / "config.json"
        auth = base64.b64encode(b"bot:secret").decode()
        file.write_text(json.dumps({"auths": {"https://index.docker.io/v1/": {"auth": auth}}}))
        assert credentials(str(file)) == {"registry-1.docker.io": "bot:secret"}

    @pytest.mark.parametrize(
        "text", ['{"auths": {"x": {"auth": "%%%"}}}', '{"auths": {"x": {"auth": 5}}}', '{"auths": []}', "[]", "{}", "x"]
    )
    def test_an_invalid_docker_configuration_is_one_sentence(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "config.json"
        file.write_text(text)
        with pytest.raises(UpdateError, match=r"not a Docker config\.json"):
            credentials(str(file))
