"""Building and checking images with a container engine; a small program that notes its arguments stands for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ops.images import engine as image_engine
from ops.images import image
from ops.images.engine import ImageError, judge_inside
from tests.conftest import ROOT

CONFINED = "uid=10001\nCapEff:0000000000000000\nCapBnd:0000000000000000\nNoNewPrivs:1\n"


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lines of arguments that a docker on PATH was called with."""
    log = tmp_path / "asked"
    script = f"""#!/bin/sh
echo "$*" >> "{log}"
case "$*" in
  info) exit ${{DOCKER_INFO:-0}};;
  *exec*) printf '{CONFINED}';;
  *" up "*) test -r "$SECRETS/private_key.pem" && exit ${{DOCKER_UP:-0}};;
  *logs*) echo "gateway: no such certificate";;
esac
"""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").write_text(script)
    (tmp_path / "bin" / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.delenv("TORCH_INDEX", raising=False)
    return log


def builds(asked: Path) -> list[str]:
    return [line for line in asked.read_text(encoding="utf-8").splitlines() if line.startswith("build ")]


def test_build_when_an_engine_answers_then_tags_and_labels_hold_the_version(
    asked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert image.main(["build"]) == 0
    server, gateway = builds(asked)
    for line, name in ((server, "server"), (gateway, "gateway")):
        assert f"--target {name} --tag disaster-tweets-{name}:0.1.0 --tag disaster-tweets-{name}:latest" in line
        assert "--build-arg VERSION=0.1.0 --build-arg REVISION=" in line
        assert "TORCH_INDEX" not in line
        assert "--secret" not in line
    assert "disaster-tweets-server:0.1.0" in capsys.readouterr().out


def test_build_when_torch_has_an_index_and_the_archive_a_key_then_the_engine_gets_both(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "own key.pem"
    key.touch()
    monkeypatch.setenv("TORCH_INDEX", "https://index.example/cpu")
    assert image.main(["build", "--signing-key", str(key)]) == 0
    for line in builds(asked):
        assert "--build-arg TORCH_INDEX=https://index.example/cpu" in line
        assert f"--secret id=signing_key,src={key}" in line


def test_build_when_the_signing_key_is_missing_then_nothing_is_built(
    asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert image.main(["build", "--signing-key", str(tmp_path / "none.pem")]) == 1
    assert "none.pem is no file" in capsys.readouterr().err
    assert not asked.exists()


def test_check_when_an_engine_answers_then_it_runs_what_was_built_and_takes_it_down(
    asked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(image_engine, "_ask", lambda *_: {"label": "disaster"})
    assert image.main(["check"]) == 0
    lines = asked.read_text(encoding="utf-8").splitlines()
    assert len(builds(asked)) == 2
    assert " up --no-build --detach --wait" in lines[3]
    assert lines[-1].endswith(" down")
    assert str(ROOT / "deploy/compose/compose.yaml") in lines[-1]
    assert '"uid": "10001"' in capsys.readouterr().out


def test_check_when_the_containers_do_not_start_then_shows_their_log_and_takes_them_down(
    asked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_UP", "3")
    assert image.main(["check"]) == 1
    assert "gateway: no such certificate" in capsys.readouterr().err
    assert asked.read_text(encoding="utf-8").splitlines()[-1].endswith(" down")


def test_engine_when_no_daemon_answers_then_says_what_to_install(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert image_engine.find_engine().endswith("/docker")
    monkeypatch.setenv("DOCKER_INFO", "1")
    monkeypatch.setenv("PATH", str(asked.parent / "bin"))
    with pytest.raises(ImageError, match="expected one of docker, podman"):
        image_engine.find_engine()


@pytest.mark.parametrize(("name", "expected"), [("docker", ["import"]), ("buildah", ["from scratch", "add", "commit"])])
def test_base_when_no_registry_is_there_then_made_of_debians_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: list[str]
) -> None:
    for program in (name, "mmdebstrap"):
        (tmp_path / program).write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\n')
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    image_engine.make_base(str(tmp_path / name))
    first, *rest = (tmp_path / "asked").read_text(encoding="utf-8").splitlines()
    assert first.startswith("--variant=minbase bookworm ")
    assert [line[: len(words)] for line, words in zip(rest, expected, strict=True)] == expected
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(ImageError, match="apt-get install mmdebstrap"):
        image_engine.make_base(str(tmp_path / name))


@pytest.mark.parametrize(
    "said",
    [
        CONFINED.replace("uid=10001", "uid=0"),
        CONFINED.replace("CapBnd:0000000000000000", "CapBnd:00000000a80425fb"),
        CONFINED.replace("NoNewPrivs:1", "NoNewPrivs:0"),
        CONFINED + "writable\n",
        CONFINED + "/usr/bin/gcc\n",
        "",
    ],
)
def test_inside_when_there_is_more_than_there_should_be_then_refused(said: str) -> None:
    with pytest.raises(ImageError, match="more than it should"):
        judge_inside(said)
    json.dumps(judge_inside(CONFINED))
