"""`make demo`: a spec becomes an environment on this machine, and the run is followed as it happens."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from datetime import datetime
from pathlib import Path

import boto3
import yaml

from . import inventory

PORT = os.environ.get("PLINTH_LOCAL_PORT", "4566")
ENDPOINT = f"http://127.0.0.1:{PORT}"
BUCKET = "plinth-000000000000-us-east-1"
PUSH = re.compile(r"docker push \d+\.dkr\.ecr\.(?P<region>[^.]+)[^/\s]+/(?P<repository>\S+):(?P<tag>[^\s`;,]+)")
SECRET = re.compile(r"plinth secret set (?P<environment>\S+) (?P<secret>[a-z0-9-]+)")
PROOF = re.compile(r"create CNAME _[0-9a-z]+\.(?P<domain>\S+?)\.? ->")
CLIENT = {"AWS_ENDPOINT_URL": ENDPOINT, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test",
          "AWS_SECRET_ACCESS_KEY": "test"}


def client(service: str, region: str = "us-east-1"):
    return boto3.client(service, endpoint_url=ENDPOINT, region_name=region,
                        aws_access_key_id="test", aws_secret_access_key="test")


def main() -> int:
    path = Path(sys.argv[1])
    spec = yaml.safe_load(path.read_text())
    for given in control("given", {"spec": path.read_text()}):
        print(f"the demo lays out what the spec takes as given: {given}")
    begun = time.monotonic()
    code = apply(path)
    if code:
        return code
    name, region = spec["name"], spec.get("region", "us-east-1")
    print(f"\nready {time.monotonic() - begun:.1f} s after the upload; its parts took\n{durations(name)}")
    print(f"\nwhat now exists, as AWS's API reports it:\n{table_of(name, region)}\n")
    print("look further, with any AWS client (`make down` ends it all):\n"
          f"  export AWS_ENDPOINT_URL={ENDPOINT} AWS_DEFAULT_REGION={region} AWS_ACCESS_KEY_ID=test "
          "AWS_SECRET_ACCESS_KEY=test\n"
          f"  .venv/bin/aws ecs list-clusters; .venv/bin/aws s3 cp s3://{BUCKET}/status/{name}.json -")
    return 0


def apply(path: Path) -> int:
    """`plinth apply`, as a user runs it; what it asks people for is done here, once each."""
    plinth = Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "debug" / "plinth"
    command = subprocess.Popen([plinth, "apply", path], stdout=subprocess.PIPE, text=True,
                               env={**os.environ, **CLIENT})
    done = set()
    for line in command.stdout:
        print(line, end="", flush=True)
        for asked in [*PUSH.finditer(line), *SECRET.finditer(line), *PROOF.finditer(line)]:
            if asked[0] not in done:
                done.add(asked[0])
                answer(plinth, asked)
    return command.wait()


def answer(plinth: Path, asked: re.Match) -> None:
    """Does what the run asks for, and says so."""
    match asked.groupdict():
        case {"repository": repository, "tag": tag, "region": region}:
            put_image(region, repository, tag)
            told = f"puts an image as {repository}:{tag}"
        case {"environment": environment, "secret": secret}:
            subprocess.run([plinth, "secret", "set", environment, secret], input="a value of the demo's\n",
                           text=True, check=True, capture_output=True, env={**os.environ, **CLIENT})
            told = f"sets the secret {secret}"
        case {"domain": domain}:
            control("domains", {"domain": domain})
            told = f"creates the record that proves {domain}"
    print(f"           the demo {told}, since the run asks for it", flush=True)


def control(path: str, body: dict):
    """Asks the server itself."""
    request = urllib.request.Request(f"{ENDPOINT}/_local/{path}", data=json.dumps(body).encode())
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def put_image(region: str, repository: str, tag: str) -> None:
    """No container runs here: an empty manifest is image enough."""
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "config": {}, "layers": []}
    client("ecr", region).put_image(repositoryName=repository, imageTag=tag, imageManifest=json.dumps(manifest))


def durations(name: str) -> str:
    """How long each step took from its first pass to its last."""
    steps = json.loads(client("s3").get_object(Bucket=BUCKET, Key=f"status/{name}.json")["Body"].read())["steps"]
    lines = []
    for step in steps:
        if step["operation"] == "ensure":
            since, until = (datetime.fromisoformat(step[each][:26].rstrip("Z")) for each in ("since", "at"))
            lines.append(f"  {step['state']:13} {(until - since).total_seconds():5.1f} s")
    return "\n".join(lines)


def table_of(name: str, region: str) -> str:
    os.environ.update(CLIENT)
    records = inventory.take("us-east-1", region)
    return inventory.table([record for record in records if record.belongs_to(name)])


if __name__ == "__main__":
    sys.exit(main())
