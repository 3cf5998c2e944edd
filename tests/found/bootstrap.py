"""What a hostile function is made of. It makes the calls of its event, each a service, an operation and arguments,
with its own credentials or with those that the event brings, and answers what each came to: "ok", or the error's code.
"""

import json
import os
import urllib.request as http

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

RUNTIME = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
ONCE = Config(retries={"max_attempts": 0})


def made(service: str, operation: str, arguments: dict, keys: dict) -> str:
    client = boto3.client(service, region_name=os.environ["AWS_REGION"], config=ONCE, **keys)
    try:
        getattr(client, operation)(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    except Exception as error:
        # A call that can't be made shows nothing: its test fails.
        return f"{type(error).__name__}: {error}"
    return "ok"


while True:
    with http.urlopen(f"{RUNTIME}/next") as following:
        request, event = following.headers["Lambda-Runtime-Aws-Request-Id"], json.load(following)
    answer = json.dumps([made(*call, event.get("keys", {})) for call in event["calls"]]).encode()
    http.urlopen(http.Request(f"{RUNTIME}/{request}/response", answer, method="POST")).read()
