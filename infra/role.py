"""Writes infra/role.yaml, and its policy in README.md, from what infra/template.yaml allows the functions.

`python infra/role.py` writes them, with `--check` it only says whether they are up to date.
"""

import json
import re
import sys
import textwrap
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
TEMPLATE, ROLE, README = ROOT / "infra/template.yaml", ROOT / "infra/role.yaml", ROOT / "README.md"
BOUNDARY = "arn:${AWS::Partition}:iam::${AWS::AccountId}:policy/plinth/plinth-boundary"
# They work in the control plane's own account.
AT_HOME = {"AcceptFunction", "FinishFunction", "SweepFunction", "ScheduleFunction"}
# What accept asks of the account that a forwarded event comes from.
PUSHED = {"Effect": "Allow", "Action": ["ecr:ListTagsForResource"], "Resource": "*"}
# The most characters of a managed policy, white space not counted.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
LIMIT = 6144
# What a statement may say.
KEYS = {"Sid", "Effect", "Action", "Resource", "NotResource", "Condition"}
BUCKET = "plinth-${AWS::AccountId}"
START, END = "<!-- written by infra/role.py -->\n", "<!-- to here -->\n"

HEAD = """\
# Written by infra/role.py from what infra/template.yaml allows the functions.
AWSTemplateFormatVersion: "2010-09-09"
Description: The role with which a control plane of Plinth in another account builds environments in this one.

Parameters:
  ControlPlaneAccount:
    Description: The account that the control plane stands in.
    Type: String
    AllowedPattern: "[0-9]{12}"
  ExternalId:
    Description: What the control plane says when it assumes the role; its bucket's name if it isn't told otherwise.
    Type: String
    MinLength: 2
  RoleName:
    Description: The role's name, as the control plane's parameter BuildRoles has it.
    Type: String
    Default: plinth-build
  WorkloadActions:
    Description: >-
      IAM actions that the roles of environments may be allowed beyond those that the boundary names, separated by
      commas, as the control plane's parameter of this name has them.
    Type: CommaDelimitedList
    Default: ""

Conditions:
  Widened: !Not [!Equals [!Join ["", !Ref WorkloadActions], ""]]

Resources:
  Role:
    Type: AWS::IAM::Role
    Properties:
      RoleName: !Ref RoleName
      MaxSessionDuration: 3600
      AssumeRolePolicyDocument:
        Version: "2012-10-17"
        Statement:
          - Effect: Allow
            Principal: { AWS: !Sub "arn:${AWS::Partition}:iam::${ControlPlaneAccount}:root" }
            Action: sts:AssumeRole
            Condition:
              StringEquals: { sts:ExternalId: !Ref ExternalId }
              # Plinth's functions, and nobody else of that account.
              ArnLike:
                aws:PrincipalArn: !Sub "arn:${AWS::Partition}:iam::${ControlPlaneAccount}:role/plinth-*FunctionRole*"

  # What no role of an environment may exceed: what the control plane's template says.
  Boundary:
    Type: AWS::IAM::ManagedPolicy
    Properties:
      ManagedPolicyName: plinth-boundary
      Path: /plinth/
      Description: Bounds every role that Plinth makes for an environment.
"""

POLICY = """
  Build{number}:
    Type: AWS::IAM::ManagedPolicy
    Properties:
      Description: What Plinth's functions call, part {number} of {of}.
      Path: /plinth/
      Roles: [!Ref Role]
      PolicyDocument:
        Version: "2012-10-17"
        Statement:
"""

TAIL = """
Outputs:
  Role:
    Description: What specs write at role, and the control plane's parameter BuildRoles allows.
    Value: !GetAtt Role.Arn
"""


class Loader(yaml.SafeLoader):
    """Reads `!Sub text` as the text, and what else is short for a function as what it is given."""


def _short(loader: Loader, _: str, node: yaml.Node) -> object:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node)
    return loader.construct_mapping(node)


Loader.add_multi_constructor("!", _short)


def statements() -> list[dict]:
    """One statement for all that has the same resources and conditions, in the order they first come up."""
    resources = yaml.load(TEMPLATE.read_text(), Loader)["Resources"]
    merged: dict[str, dict] = {}
    for name, resource in resources.items():
        if resource["Type"] != "AWS::Serverless::Function" or name in AT_HOME:
            continue
        for policy in resource["Properties"]["Policies"]:
            for statement in policy["Statement"]:
                if BUCKET not in json.dumps(statement.get("Resource", "")):
                    _merge(merged, statement)
    _merge(merged, PUSHED)
    return [{**statement, "Action": sorted(set(statement["Action"]))} for statement in merged.values()]


def _merge(merged: dict[str, dict], statement: dict) -> None:
    if statement["Effect"] != "Allow" or not statement.keys() <= KEYS:
        sys.exit(f"a statement that this can't carry over: {statement}")
    actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
    rest = {name: value for name, value in statement.items() if name not in ("Sid", "Action")}
    condition = rest.get("Condition", {}).get("StringEquals", {})
    if ":s3:::" in json.dumps(rest.get("NotResource", "")):
        # The bucket of a control plane in whichever region, should one stand there too.
        rest["NotResource"] = [f"arn:${{AWS::Partition}}:s3:::{name}-*" for name in (BUCKET, "plinth-artifacts")]
    for key in condition:
        if key.endswith("/plinth:control-plane"):
            # The control plane stands in another account, in whichever region.
            rest["Condition"] = {"StringLike": {key: "plinth-${ControlPlaneAccount}-*"}}
    if "iam:PermissionsBoundary" in condition:
        rest["Condition"] = {"StringEquals": {"iam:PermissionsBoundary": BOUNDARY}}
    found = merged.setdefault(json.dumps(rest), {**rest, "Action": []})
    found["Action"] += actions


def documents(all_statements: list[dict]) -> list[list[dict]]:
    """The statements in as many parts as fit policies; one too long for a part is split by services."""
    parts: list[list[dict]] = [[]]
    for statement in all_statements:
        for piece in _pieces(statement):
            if _length([*parts[-1], piece]) > LIMIT:
                parts.append([])
            parts[-1].append(piece)
    return parts


def _pieces(statement: dict) -> list[dict]:
    services = dict.fromkeys(action.split(":")[0] for action in statement["Action"])
    of = {service: [each for each in statement["Action"] if each.startswith(f"{service}:")] for service in services}
    pieces = [{**statement, "Action": []}]
    for actions in of.values():
        longer = {**statement, "Action": [*pieces[-1]["Action"], *actions]}
        if _length([longer]) > LIMIT // 2:
            pieces.append({**statement, "Action": actions})
        else:
            pieces[-1] = longer
    return [piece for piece in pieces if piece["Action"]]


def _length(some: list[dict]) -> int:
    document = {"Version": "2012-10-17", "Statement": some}
    # Rendered, a partition has up to 10 characters, and an account 12.
    text = json.dumps(document, separators=(",", ":"))
    for variable in ("${AWS::AccountId}", "${ControlPlaneAccount}"):
        text = text.replace(variable, "0" * 12)
    return len(text.replace("${AWS::Partition}", "aws-us-gov"))


def boundary() -> str:
    """The boundary's policy, as the template has it."""
    _, _, after = TEMPLATE.read_text().partition("  Boundary:\n")
    section, _, _ = after.partition("\n\n")
    start = section.index("      PolicyDocument:\n")
    return section[start:] + "\n"


def template(parts: list[list[dict]]) -> str:
    text = HEAD + boundary()
    for number, part in enumerate(parts, 1):
        text += POLICY.format(number=number, of=len(parts))
        text += "".join(_statement(statement) for statement in part)
    return text + TAIL


def _statement(statement: dict) -> str:
    lines = ["          - Effect: Allow", "            Action:"]
    lines += [f"              - {action}" for action in statement["Action"]]
    for name in ("Resource", "NotResource", "Condition"):
        if name in statement:
            lines.append(f"            {name}: {_value(statement[name])}")
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{name}": {_value(each)}' for name, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return f'!Sub "{value}"' if "${" in value else f'"{value}"'


def readme(all_statements: list[dict]) -> str:
    """The policy as JSON, as many actions on a line as fit."""
    text = ",\n".join(textwrap.indent(_json(statement), "    ") for statement in all_statements)
    text = text.replace("${AWS::Partition}", "aws").replace("${AWS::AccountId}", "<account>")
    text = text.replace("${ControlPlaneAccount}", "<the control plane's account>")
    return f'{START}```json\n{{\n  "Version": "2012-10-17",\n  "Statement": [\n{text}\n  ]\n}}\n```\n{END}'


def _json(statement: dict) -> str:
    actions = textwrap.fill(", ".join(map(json.dumps, statement["Action"])), 108, break_on_hyphens=False)
    rest = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in statement.items()
            if name not in ("Effect", "Action")]
    action = f'  "Action": [\n{textwrap.indent(actions, "    ")}\n  ]'
    return "{\n" + ",\n".join(['  "Effect": "Allow"', action, *rest]) + "\n}"


def main() -> None:
    found = statements()
    before = README.read_text()
    block = readme(found)
    after = re.sub(re.escape(START) + ".*?" + re.escape(END), lambda _: block, before, flags=re.DOTALL)
    written = {ROLE: template(documents(found)), README: after}
    if "--check" not in sys.argv:
        for path, text in written.items():
            path.write_text(text)
    elif stale := [path.name for path, text in written.items() if not path.exists() or path.read_text() != text]:
        sys.exit(f"not what infra/template.yaml allows the functions: {', '.join(stale)}; run python infra/role.py")


if __name__ == "__main__":
    main()
