"""Runs the steps of a Dockerfile without an engine, each stage in a root of its own, with no network.

    unshare --mount --net python -m tests.packaging.dockerfile_steps DOCKERFILE CONTEXT OUT

A stage's root is an overlay of this machine's: what a step writes goes into memory and is gone afterwards. The base
image is played by this interpreter at ``/usr/local``, and the packages that a registry would give by those installed
here (``PYTHONPATH``); so names, versions and extras are resolved by pip as in a build, and nothing is downloaded. The
repository itself is hidden. What this does not show: that the base image exists and has the libraries that packages
need, and that a registry has the packages for it.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

from dockerfile_parse import DockerfileParser

PACKAGES = "/opt/packages-of-the-registry"


@dataclass
class Stage:
    """A root, and what the instructions said of it so far."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0:0"
    health: list[str] = field(default_factory=list)
    entry: list[str] = field(default_factory=list)


def mount(*arguments: object) -> None:
    """Mounts, in the namespace of this process."""
    subprocess.run(["mount", *map(str, arguments)], check=True)


def overlay(lower: str | Path, at: Path, scratch: Path) -> None:
    """What is below ``lower``, to be changed without changing it."""
    for folder in (at, scratch / "changed", scratch / "work"):
        folder.mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={lower},upperdir={scratch / 'changed'},workdir={scratch / 'work'}"
    mount("-t", "overlay", "overlay", "-o", options, at)


def new_root(place: Path, hidden: Path) -> Path:
    """A root as the base image would give it."""
    root = place / "root"
    overlay("/", root, place / "layer")
    mount("-t", "proc", "proc", root / "proc")
    mount("--rbind", "/dev", root / "dev")
    mount("-t", "tmpfs", "tmpfs", root / "tmp")
    packages = root / PACKAGES.lstrip("/")
    overlay(sysconfig.get_path("purelib"), packages, place / "packages")
    for own in packages.glob("*tips_med*"):  # only the wheel may give it
        shutil.rmtree(own) if own.is_dir() else own.unlink()
    overlay(sys.base_prefix, root / "usr" / "local", place / "python")
    for name in ("python", "python3"):
        link = root / "usr" / "local" / "bin" / name
        if not link.exists():
            link.symlink_to(f"python{sysconfig.get_python_version()}")
    if not hidden.is_relative_to("/tmp"):
        mount("-t", "tmpfs", "tmpfs", root / hidden.relative_to("/"))
    return root


def run(stage: Stage, command: list[str], user: str | None = None) -> tuple[int, str]:
    """Runs a command in a stage, as its user or as another; gives the exit code and the end of what it wrote."""
    uid, _, gid = (user or stage.user).partition(":")
    inside = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin", "PYTHONPATH": PACKAGES, "HOME": "/tmp"}
    environment = inside | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_CONFIG_FILE": "/dev/null"} | stage.environment

    def enter() -> None:
        os.chroot(stage.root)
        os.chdir(stage.folder)
        os.setgroups([])
        os.setgid(int(gid or uid))
        os.setuid(int(uid))

    done = subprocess.run(
        command, env=environment, preexec_fn=enter, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.returncode, done.stdout[-3000:]


def copy(words: list[str], stage: Stage, stages: dict[str, Stage], context: Path) -> None:
    """COPY, with its one option ``--from``."""
    source_root = context
    if words[0].startswith("--from="):
        source_root = stages[words.pop(0).removeprefix("--from=")].root
    *sources, target = words
    into = stage.root / os.path.join(stage.folder, target).lstrip("/")
    for source in sources:
        found = source_root / source.lstrip("/")
        if found.is_dir():
            shutil.copytree(
                found, into, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            place = into / found.name if target.endswith("/") else into
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(found, place)


def expanded(text: str, stage: Stage) -> str:
    """Variables of the stage, in what the shell does not expand."""
    return re.sub(r"\$\{?(\w+)\}?", lambda m: stage.environment.get(m[1], os.environ.get(m[1], "")), text)


def build(dockerfile: Path, context: Path, place: Path) -> tuple[Stage, list[dict[str, object]]]:
    """Runs every step; gives the last stage, and what the steps did.

    Raises:
        RuntimeError: A step failed.
    """
    steps: list[dict[str, object]] = []
    stages: dict[str, Stage] = {}
    stage = Stage(place)
    for item in DockerfileParser(fileobj=io.BytesIO(dockerfile.read_bytes())).structure:
        word, value = item["instruction"], item["value"]
        if word == "COMMENT":
            continue
        if word == "FROM":
            _, _, name = value.partition(" AS ")
            stage = stages[name] = Stage(new_root(place / name, context))
        elif word == "RUN":
            code, said = run(stage, ["/bin/sh", "-c", value])
            if code:
                raise RuntimeError(f"RUN {value}: {code}\n{said}")
        elif word == "COPY":
            copy(shlex.split(value), stage, stages, context)
        elif word == "WORKDIR":
            stage.folder = value
            (stage.root / value.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif word == "ARG":
            name, _, default = value.partition("=")
            stage.environment[name] = default
        elif word == "ENV":
            path = {"PATH": "/usr/local/bin:/usr/bin:/bin"} | stage.environment
            for one in shlex.split(value):
                name, _, text = one.partition("=")
                stage.environment[name] = expanded(text, Stage(stage.root, path))
        elif word == "USER":
            stage.user = value
        elif word == "HEALTHCHECK":
            stage.health = json.loads(value[value.index("CMD ") + 4 :])
        elif word == "ENTRYPOINT":
            stage.entry = json.loads(value)
        elif word not in ("LABEL", "CMD"):
            raise RuntimeError(f"{word} is not known to this test")
        steps.append({"instruction": word, "value": value})
    return stage, steps


def main(arguments: list[str]) -> int:
    """Builds, then looks at the last stage as whoever runs the container would."""
    dockerfile, context, out = (Path(one).absolute() for one in arguments)
    place = out / "stages"
    place.mkdir(parents=True)
    mount("-t", "tmpfs", "tmpfs", place)
    stage, steps = build(dockerfile, context, place)
    looked = {
        "steps": steps,
        "health": run(stage, stage.health),
        "version": run(stage, [*stage.entry, "--version"]),
        "user": run(stage, ["id", "-u"]),
        "other_user": run(stage, [*stage.entry, "ground", "--help"], "54321:54321"),  # of docker run --user
        "writes_program": run(stage, ["touch", "/opt/tips-med/bin/tips-med"])[0],
        "writes_folder": run(stage, ["touch", "answers"])[0],
        "where": run(stage, ["python", "-c", "import tips_med; print(tips_med.__file__)"]),
        "editable": [file.name for file in (stage.root / "opt/tips-med").rglob("*editable_*tips_med*")],
    }
    (out / "looked.json").write_text(json.dumps(looked))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
