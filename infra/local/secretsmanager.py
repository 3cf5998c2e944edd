"""Secrets Manager: secrets without a value, names that are still taken, and requests made twice."""

import json

from ministack.core.responses import error_response_json, json_response
from ministack.services import secretsmanager

VALUES = ("SecretString", "SecretBinary")


def install() -> None:
    create, put = secretsmanager._create_secret, secretsmanager._put_secret_value

    def create_secret(request: dict) -> tuple:
        """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html"""
        name = request.get("Name")
        existing = secretsmanager._secrets.get(name)
        if existing and existing["DeletedDate"]:
            return error_response_json(
                "InvalidRequestException", "You can't create this secret because a secret with this name is "
                "already scheduled for deletion.", 400)
        answer = create(request)
        if answer[0] == 200 and not any(each in request for each in VALUES):
            secretsmanager._secrets[name]["Versions"] = {}
            kept = {key: value for key, value in json.loads(answer[2]).items() if key != "VersionId"}
            return *answer[:2], json.dumps(kept).encode()
        return answer

    def put_secret_value(request: dict) -> tuple:
        """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html"""
        _, secret = secretsmanager._resolve(request.get("SecretId"))
        made = (secret or {}).get("Versions", {}).get(request.get("ClientRequestToken"))
        if made and any(made.get(each) != request.get(each) for each in VALUES):
            return error_response_json(
                "ResourceExistsException",
                f"You can't use ClientRequestToken {request['ClientRequestToken']} because that value is "
                f"already in use for a version of secret {secret['ARN']}.", 400)
        if made:
            # It is there already: nothing is done, and it isn't made the current one again.
            return json_response({"ARN": secret["ARN"], "Name": secret["Name"],
                                  "VersionId": request["ClientRequestToken"],
                                  "VersionStages": list(made["Stages"])})
        return put(request)

    secretsmanager._create_secret, secretsmanager._put_secret_value = create_secret, put_secret_value
