"""Puts every state machine into one template, for cfn-lint to validate: python machines.py > template.json"""

import json
import sys
from pathlib import Path

machines = Path(__file__).parents[2] / "statemachines"
resources = {
    path.name.split(".")[0].capitalize(): {
        "Type": "AWS::StepFunctions::StateMachine",
        "Properties": {"RoleArn": "arn:aws:iam::123456789012:role/any", "Definition": json.loads(path.read_text())},
    }
    for path in sorted(machines.glob("*.asl.json"))
}
json.dump({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}, sys.stdout)
