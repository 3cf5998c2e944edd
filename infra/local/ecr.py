"""ECR: the event that a pushed image raises."""

import json

from ministack.core.responses import get_account_id, get_region
from ministack.services import ecr, eventbridge


def install() -> None:
    """https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html"""
    put = ecr._put_image

    def put_image(request: dict) -> tuple:
        answer = put(request)
        if answer[0] == 200:
            _raise_event(json.loads(answer[2])["image"], request.get("imageTag", ""))
        return answer

    ecr._put_image = put_image


def _raise_event(image: dict, tag: str) -> None:
    repository = image["repositoryName"]
    detail = {
        "action-type": "PUSH", "result": "SUCCESS", "repository-name": repository, "image-tag": tag,
        "image-digest": image["imageId"]["imageDigest"],
        "manifest-media-type": image["imageManifestMediaType"],
    }
    eventbridge._put_events({"Entries": [{
        "Source": "aws.ecr", "DetailType": "ECR Image Action", "Detail": json.dumps(detail),
        "Resources": [f"arn:aws:ecr:{get_region()}:{get_account_id()}:repository/{repository}"],
    }]}, allow_aws_source=True)
