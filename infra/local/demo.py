"""`make demo`: a spec becomes an environment on this machine, and the run is followed as it happens."""

import json
import os
import re
import sys
import time
from pathlib import Path

import boto3
import yaml

from . import inventory

PORT = os.environ.get("PLINTH_LOCAL_PORT", "4566")
ENDPOINT = f"http://127.0.0.1:{PORT}"
BUCKET = "plinth-000000000000-us-east-1"
PUSH = re.compile(r"docker push [^/\s]+/(?P<repository>\S+):(?P<tag>[^\s`]+)")


def client(service: str, region: str = "us-east-1"):
    return boto3.client(service, endpoint_url=ENDPOINT, region_name=region,
                        aws_access_key_id="test", aws_secret_access_key="test")


def main() -> int:
    path = Path(sys.argv[1])
    s3 = client("s3")
    name = yaml.safe_load(path.read_text())["name"]
    key = f"environments/{name}{path.suffix}"
    begun = time.monotonic()
    version = s3.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())["VersionId"]
    print(f"uploaded {path} to s3://{BUCKET}/{key}; nothing else is called")
    status = follow(s3, name, version, begun)
    print(f"\n{name} is {status['state']} after {time.monotonic() - begun:.1f} s")
    for fault in status.get("faults", []):
        print(f"  {path}:{fault['line']}:{fault['column']}: {fault['path']}: {fault['message']}")
    if "fault" in status:
        print(f"  {status['fault'].get('state', 'the run')}: {status['fault']['message']}")
    print(json.dumps(status["outputs"], indent=2))
    print(f"\nwhat now exists, as AWS's API reports it:\n{table_of(name)}\n")
    print(f"look further: AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test "
          f"aws --region us-east-1 --endpoint-url {ENDPOINT} ecs list-clusters")
    return 0 if status["state"] == "ready" else 1


def table_of(name: str) -> str:
    os.environ.update(AWS_ENDPOINT_URL=ENDPOINT, AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test")
    return inventory.table([record for record in inventory.take("us-east-1") if record.belongs_to(name)])


def follow(s3, name: str, version: str, begun: float) -> dict:
    """Prints what is new until the status of this version is settled."""
    told: dict[str, tuple] = {}
    while True:
        status = read(s3, f"status/{name}.json") or {}
        if status.get("version") == version:
            tell(s3, name, status["run"], told, begun)
            if status["state"] not in ("provisioning", "destroying"):
                return status
        time.sleep(0.2)


def tell(s3, name: str, run: str, told: dict[str, tuple], begun: float) -> None:
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"runs/{name}/{run}/steps/").get("Contents", [])
    for key in [item["Key"] for item in listed]:
        step = read(s3, key)
        news = (step["status"], step.get("message"))
        if told.get(key) == news:
            continue
        told[key] = news
        seconds = time.monotonic() - begun
        print(f"{seconds:6.1f} s  {step['operation']:7} {step['state']:13} {step['status']:8} "
              f"{step.get('message', '')}".rstrip(), flush=True)
        if asked := PUSH.search(step.get("message") or ""):
            put_image(asked["repository"], asked["tag"])


def put_image(repository: str, tag: str) -> None:
    """No container runs here: an empty manifest is image enough."""
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "config": {}, "layers": []}
    client("ecr").put_image(repositoryName=repository, imageTag=tag, imageManifest=json.dumps(manifest))
    print(f"          the demo puts an image as {repository}:{tag}, since the run asked for it", flush=True)


def read(s3, key: str) -> dict | None:
    try:
        return json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    except s3.exceptions.NoSuchKey:
        return None


if __name__ == "__main__":
    sys.exit(main())
