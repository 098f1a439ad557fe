"""What pyproject.toml has no words for: builds that are the same byte by byte, and a bill of materials in the wheel.

The bill (CycloneDX 1.6, https://cyclonedx.org) lies in `.dist-info/sboms/`, where PEP 770 has it. The wheel holds no
code of others; the bill names what it asks for.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import tarfile
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.sdist import sdist

EPOCH = 315_532_800
"""1980-01-01, the first date that a zip file can hold: the time of all files, unless SOURCE_DATE_EPOCH says another."""
MODE = 0o644
"""Of all files, whatever the umask."""
SBOM = "sboms/sinternal.cdx.json"


def bill(metadata) -> dict:
    """The bill of materials of a distribution, by its metadata."""
    name, version = metadata.get_name(), metadata.get_version()
    own = {
        "type": "library",
        "bom-ref": name,
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    asked = {
        "": list(metadata.install_requires),
        **{extra: list(needs) for extra, needs in metadata.extras_require.items()},
    }
    components: dict[str, dict] = {}
    for extra, requirements in sorted(asked.items()):
        for requirement in map(str, requirements):
            package = re.match(r"[\w.-]+", requirement)[0].lower()
            if package == name:
                continue
            component = components.setdefault(package, _component(package, required=not extra))
            component["properties"].append(
                {"name": f"requirement{extra and f' of extra {extra}'}", "value": requirement}
            )
    listed = [components[package] for package in sorted(components)]
    dependencies = [{"ref": name, "dependsOn": [component["bom-ref"] for component in listed]}]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": own},
        "components": listed,
        "dependencies": dependencies,
    }


def _component(package: str, *, required: bool) -> dict:
    return {
        "type": "library",
        "bom-ref": package,
        "name": package,
        "purl": f"pkg:pypi/{package}",
        "scope": "required" if required else "optional",
        "properties": [],
    }


class Wheel(bdist_wheel):
    """A wheel with a bill of materials, whose files have one time and one mode."""

    def egg2dist(self, egginfo_path, distinfo_path):
        super().egg2dist(egginfo_path, distinfo_path)
        os.environ.setdefault("SOURCE_DATE_EPOCH", str(EPOCH))
        file = Path(distinfo_path, SBOM)
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(bill(self.distribution), indent=1) + "\n")
        for built in Path(distinfo_path).parent.rglob("*"):
            if built.is_file():
                built.chmod(MODE)

    def write_wheelfile(self, wheelfile_base, *arguments, **options):
        super().write_wheelfile(wheelfile_base, *arguments, **options)
        Path(wheelfile_base, "WHEEL").chmod(MODE)


class Source(sdist):
    """An archive of the sources that holds nothing of who built it, where and when."""

    def make_archive(self, base_name, format, root_dir=None, base_dir=None, owner=None, group=None):
        archive = super().make_archive(base_name, format, root_dir, base_dir, owner, group)
        if format == "gztar":
            _normalise(Path(archive), int(os.environ.get("SOURCE_DATE_EPOCH", EPOCH)))
        return archive


def _normalise(archive: Path, epoch: int) -> None:
    """Write an archive anew with sorted names, one time, no owners, and modes that no umask has changed."""
    content = {}
    with tarfile.open(archive) as old:
        for member in old:
            content[member.name] = (member, old.extractfile(member).read() if member.isfile() else b"")
    with (
        archive.open("wb") as stream,
        gzip.GzipFile("", "wb", mtime=epoch, fileobj=stream) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for name in sorted(content):
            old_member, data = content[name]
            member = tarfile.TarInfo(name)
            member.type, member.size, member.mtime = old_member.type, len(data), epoch
            member.mode = 0o755 if old_member.isdir() else MODE
            new.addfile(member, io.BytesIO(data))


setup(cmdclass={"bdist_wheel": Wheel, "sdist": Source})
