"""List what is served, as a CycloneDX bill of materials: locked packages, torch, the server's jar, the model.

Built at a release and by a test, not committed: it follows from the lock, the jar and the archive, and the same inputs
give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ops.paths import ROOT

LOCK = Path("requirements/lock/serve.txt")
PINS = Path("requirements/serve.txt")
RISKS = Path("docs/accepted_risks.yaml")
MANIFEST = Path("model_store/tweets.manifest.json")
TIMEOUT_S = 300
# Libraries of TorchServe's jar under the names by which advisories know them.
MAVEN = {
    "netty": "io.netty/netty-all",
    "netty-tcnative": "io.netty/netty-tcnative",
    "grpc-java": "io.grpc/grpc-netty-shaded",
    "gson": "com.google.code.gson/gson",
    "groovy": "org.codehaus.groovy/groovy-all",
    "ant": "org.apache.ant/ant",
    "jquery": "org.webjars/jquery",
    "protobuf-java": "com.google.protobuf/protobuf-java",
    "log4j": "org.apache.logging.log4j/log4j-core",
    "snakeyaml": "org.yaml/snakeyaml",
    "commons-io": "commons-io/commons-io",
    "commons-compress": "org.apache.commons/commons-compress",
    "testng": "org.testng/testng",
}
EXAMPLE = """example:
  python -m ops.supply_chain.sbom --out build/sbom.cdx.json      after `make archive`
"""


class SbomError(RuntimeError):
    """The bill cannot be made; the message says what is missing."""


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Write the bill; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=root / "build" / "sbom.cdx.json", help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        bill = build_bill(root)
    except SbomError as error:
        print(f"sbom: {error}", file=sys.stderr)
        return 1
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(bill, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{options.out}: {len(bill['components'])} components")
    return 0


def build_bill(root: Path) -> dict[str, Any]:
    """Return the bill as a JSON object of CycloneDX 1.6.

    Args:
        root: holds lock, list of risks and the archive's manifest.

    Raises:
        SbomError: a file is missing, or cyclonedx-py refuses the lock.
    """
    bill = _packages(root)
    bill["components"] += [_torch(root), *_jar(root), _model(root)]
    bill["components"].sort(key=lambda component: str(component["bom-ref"]))
    bill["metadata"]["component"] = {"type": "application", "bom-ref": "disaster-tweets", "name": "disaster-tweets"}
    # Made for the lock alone; what is packed into an archive or a jar depends on nothing of it.
    bill.pop("dependencies", None)
    return bill


def _packages(root: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(root / LOCK), "--output-reproducible"]
    command += ["--of", "JSON", "--sv", "1.6"]
    result = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", timeout=TIMEOUT_S, check=False
    )
    if result.returncode != 0:
        raise SbomError(f"cyclonedx-py refused {LOCK}: {result.stderr.strip()[-500:]}; `make sbom` brings it")
    bill: dict[str, Any] = json.loads(result.stdout)
    for component in bill["components"]:
        component.pop("description", None)  # the lock's line with all hashes, which stand below once more
        # Where a package was fetched from is a machine's business; its hashes say which file it is.
        for reference in component.get("externalReferences", []):
            reference.pop("comment", None)
            reference["url"] = component.get("purl", component["name"])
    return bill


def _torch(root: Path) -> dict[str, Any]:
    match = re.search(r"^torch==([\w.]+)", (root / PINS).read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise SbomError(f"{PINS} pins no torch")
    purl = f"pkg:pypi/torch@{match[1]}"
    return {"type": "library", "bom-ref": purl, "name": "torch", "version": match[1], "purl": purl}


def _jar(root: Path) -> list[dict[str, Any]]:
    risks = yaml.safe_load((root / RISKS).read_text(encoding="utf-8"))
    jar = {
        "type": "file",
        "bom-ref": "model-server.jar",
        "name": "ts/frontend/model-server.jar",
        "version": risks["torchserve"],
        "hashes": [{"alg": "SHA-256", "content": risks["jar_sha256"]}],
    }
    libraries = []
    for name, facts in risks["libraries"].items():
        purl = f"pkg:maven/{MAVEN[name]}@{facts['version']}"
        libraries.append(
            {"type": "library", "bom-ref": purl, "name": name, "version": str(facts["version"]), "purl": purl}
        )
    return [jar, *libraries]


def _model(root: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise SbomError(f"{MANIFEST} is missing or broken; build the archive: make archive") from None
    files = [
        {
            "type": "file",
            "bom-ref": f"tweets.mar/{name}",
            "name": name,
            "hashes": [{"alg": "SHA-256", "content": value}],
        }
        for name, value in sorted(manifest["files"].items())
        if name.startswith("bundle/")
    ]
    # The archive's own hash is left out: it holds the time of the build, and the bill would differ with it.
    return {
        "type": "machine-learning-model",
        "bom-ref": "tweets.mar",
        "name": "disaster-tweets",
        "version": manifest["model_version"],
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "modelCard": {
            "modelParameters": {"task": "text-classification", "modelArchitecture": "BERT (MiniLM), LoRA merged"}
        },
        "components": files,
    }


if __name__ == "__main__":
    sys.exit(main())
