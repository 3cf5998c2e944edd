"""ECR: the event that a pushed image raises, images that are there already or not at all, and who may read the tags
of a repository.
"""

import json
from collections.abc import Callable

from ministack.core import iam_actions
from ministack.core.responses import error_response_json, get_account_id
from ministack.services import ecr, eventbridge


def install() -> None:
    put, describe = ecr._put_image, ecr._describe_images

    def put_image(request: dict) -> tuple:
        """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutImage.html"""
        name, tag = request.get("repositoryName", ""), request.get("imageTag")
        found = ecr._find_image(name, {"imageTag": tag}) if tag and name in ecr._repositories else None
        if found and found["imageManifest"] == request.get("imageManifest"):
            return error_response_json(
                "ImageAlreadyExistsException", f"Image with digest '{found['imageDigest']}' and tag '{tag}' "
                f"already exists in the repository with name '{name}' in registry with id "
                f"'{get_account_id()}'", 400)
        answer = put(request)
        if answer[0] == 200:
            _raise_event(json.loads(answer[2])["image"], request.get("imageTag", ""))
        return answer

    def describe_images(request: dict) -> tuple:
        """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImages.html"""
        name = request.get("repositoryName", "")
        for wanted in request.get("imageIds") or [] if name in ecr._repositories else []:
            if not ecr._find_image(name, wanted):
                return error_response_json(
                    "ImageNotFoundException",
                    f"The image with imageId {{imageDigest:'{wanted.get('imageDigest', 'null')}', "
                    f"imageTag:'{wanted.get('imageTag', 'null')}'}} does not exist within the repository "
                    f"with name '{name}' in the registry with id '{get_account_id()}'", 400)
        return describe(request)

    ecr._put_image, ecr._describe_images = put_image, describe_images
    iam_actions.extract_resource_arn = _with_arn(iam_actions.extract_resource_arn)


def _with_arn(plain: Callable) -> Callable:
    """Calls about tags name the repository by its ARN, and are allowed by it.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerregistry.html
    """
    def extract(service: str, method: str, path: str, headers: dict, body: bytes, query: dict, *rest) -> str:
        if service == "ecr" and (arn := json.loads(body or b"{}").get("resourceArn")):
            return arn
        return plain(service, method, path, headers, body, query, *rest)

    return extract


def _raise_event(image: dict, tag: str) -> None:
    """Says which image was pushed, each tag of it by itself, and names no resources.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html
    """
    repository = image["repositoryName"]
    detail = {
        "action-type": "PUSH", "result": "SUCCESS", "repository-name": repository, "image-tag": tag,
        "image-digest": image["imageId"]["imageDigest"],
        "manifest-media-type": image["imageManifestMediaType"],
    }
    eventbridge._put_events({"Entries": [{
        "Source": "aws.ecr", "DetailType": "ECR Image Action", "Detail": json.dumps(detail), "Resources": [],
    }]}, allow_aws_source=True)
