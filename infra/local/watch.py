"""Whether what serves goes on serving while an environment changes.

Of an environment that is watched, every path on which requests come in is followed: each listener's default
and rules, each method of an API's stages, each DNS record that is an alias of a balancer. After each call
that writes, and each time that ECS moves tasks, a path that once served must still lead to something that
runs and may be reached. A path that stands and leads nowhere is broken. One that is gone is, too, unless the
run had come to prune.
"""

import json
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from ipaddress import ip_network

from ministack.services import lambda_svc, route53, stepfunctions
from moto.apigateway.models import apigateway_backends
from moto.ec2.models import ec2_backends
from moto.elbv2.models import elbv2_backends

from . import apigateway, bridge, deployments

ENVIRONMENT = "plinth:environment"
# What bridge doesn't answer, and paths depend on.
OTHERS = ("route53", "lambda")


@dataclass
class Path:
    """One way in: what to call it, and why it doesn't serve, if it doesn't."""

    name: str
    why: str | None


@dataclass
class Break:
    """A path that served and no longer did: after which call, and after which it served again."""

    path: str
    why: str
    after: object
    until: object = None

    def shown(self) -> dict:
        return {"path": self.path, "why": self.why, "after": _shown(self.after), "until": _shown(self.until)}


@dataclass
class Watch:
    """One environment under watch."""

    environment: str
    account: str
    region: str
    # The paths that served when last looked at, or once did and are broken.
    served: dict[tuple, str] = field(default_factory=dict)
    broken: dict[tuple, Break] = field(default_factory=dict)
    breaks: list[Break] = field(default_factory=list)

    def look(self, after: object) -> None:
        found = dict(paths(self))
        for key, path in found.items():
            if path.why is None:
                self.served[key] = path.name
                self._mend(key, after)
            elif key in self.served and key not in self.broken:
                self._break(key, path.why, after)
        for key in self.served.keys() - found.keys():
            if key not in self.broken and not _prunes(self.environment):
                self._break(key, "it was deleted before the run had come to prune", after)
            self._mend(key, after)
            del self.served[key]

    def _break(self, key: tuple, why: str, after: object) -> None:
        self.broken[key] = Break(self.served[key], why, after)
        self.breaks.append(self.broken[key])

    def _mend(self, key: tuple, after: object) -> None:
        if key in self.broken:
            self.broken.pop(key).until = after

    def shown(self) -> dict:
        return {"environment": self.environment, "paths": sorted(self.served.values()),
                "breaks": [each.shown() for each in self.breaks]}


watches: dict[str, Watch] = {}
# The call that is being answered.
current: ContextVar[object] = ContextVar("call", default=None)


def install() -> None:
    bridge.answered.append(_answered)
    deployments.moved.append(look)


def begin(environment: str, account: str, region: str) -> dict:
    """Watches an environment from now on."""
    with bridge.lock:
        watches[environment] = Watch(environment, account, region)
        watches[environment].look(None)
        return watches[environment].shown()


def shown() -> dict:
    with bridge.lock:
        return {"watches": [watch.shown() for watch in watches.values()]}


def end() -> dict:
    """Watches nothing any more, and says what there was to see."""
    seen = shown()
    watches.clear()
    return seen


def concerns(call) -> bool:
    """Whether there is something to look at after a call that bridge doesn't answer."""
    return bool(watches) and call.write and call.service in OTHERS


def after(call) -> None:
    with bridge.lock:
        _look(call)


def look() -> None:
    """Looks after whatever the call that is being answered has done so far; under moto's lock."""
    _look(current.get())


def _answered() -> None:
    call = current.get()
    if call is not None and call.write:
        _look(call)


def _look(call: object) -> None:
    for watch in list(watches.values()):
        watch.look(call)


def _shown(call: object) -> dict | None:
    if call is None:
        return None
    named = asdict(call)
    return {name: named[name] for name in ("number", "service", "action", "function", "principal")}


def _prunes(environment: str) -> bool:
    """Whether the environment's run has come to delete what its spec doesn't mention."""
    for execution in stepfunctions._executions.all_values():
        if execution["status"] == "RUNNING" and ":plinth-prune:" in execution["executionArn"]:
            given = json.loads(execution["input"])
            if given.get("operation") == "prune" and given["run"]["environment"] == environment:
                return True
    return False


def paths(watch: Watch) -> Iterator[tuple[tuple, Path]]:
    """Every path of an environment, by what stays the same of it when it changes."""
    elb = elbv2_backends[watch.account][watch.region]
    ours = []
    for balancer in elb.load_balancers.values():
        if owned := _tagged(elb, balancer.arn, watch):
            ours.append(balancer)
        for listener in balancer.listeners.values():
            for rule in listener.rules.values():
                if owned or _tagged(elb, listener.arn if rule.is_default else rule.arn, watch):
                    where = f"{balancer.name}:{listener.port}"
                    name = f"listener {where}" if rule.is_default else f"rule {rule.priority} of {where}"
                    yield (listener.arn, rule.arn), Path(name, _rule(watch, balancer, listener, rule))
    yield from _records(watch, ours)
    yield from _methods(watch)


def _tagged(elb, arn: str, watch: Watch) -> bool:
    return elb.tagging_service.get_tag_dict_for_resource(arn).get(ENVIRONMENT) == watch.environment


def _rule(watch: Watch, balancer, listener, rule) -> str | None:
    """Why what a rule, or a listener's default, says doesn't come about."""
    balancer.activate()
    if balancer.state != "active":
        return f"the balancer is {balancer.state}"
    ec2 = ec2_backends[watch.account][watch.region]
    groups = [ec2.get_security_group_from_id(group) for group in balancer.security_groups or []]
    if groups and not any(_covers(each, int(listener.port)) for group in groups for each in group.ingress_rules):
        return f"no security group of the balancer lets anybody in on port {listener.port}"
    whys = [_target_group(watch, balancer, arn) for action in rule.actions for arn in _targets(action.data)]
    if not whys and any(action.type == "forward" for action in rule.actions):
        return "it forwards to no target group"
    return next((why for why in whys if why), None)


def _targets(action: dict) -> list[str]:
    """The target groups that requests are forwarded to: those of a weight above 0."""
    groups = action.get("ForwardConfig", {}).get("TargetGroups", [])
    if not groups and "TargetGroupArn" in action:
        return [action["TargetGroupArn"]]
    return [group["TargetGroupArn"] for group in groups if int(group.get("Weight", 1)) > 0]


def _target_group(watch: Watch, balancer, arn: str) -> str | None:
    """Why requests that are forwarded to a target group aren't answered: each target that is well gets its share."""
    group = elbv2_backends[watch.account][watch.region].target_groups.get(arn)
    if group is None:
        return f"target group {arn} doesn't exist"
    if group.target_type == "lambda":
        known = [target["Id"] for target in group.targets.values() if _function(watch, target["Id"])]
        return None if known else f"target group {group.name} has no function"
    states = {(target["Id"], int(target["Port"])): _state(group, target) for target in group.targets.values()}
    well = [target for target, state in states.items() if state == "healthy"]
    if not well:
        return f"target group {group.name} has no healthy target, but {sorted(states.values())}"
    for target, port in well:
        if not _reaches(watch, balancer, group, target, port):
            return f"security groups keep {balancer.name} from {target}:{port} of target group {group.name}"
    return None


def _state(group, target: dict) -> str:
    found = deployments.health(group, target["Id"], target["Port"])
    if found:
        return found[0]
    return "unhealthy" if group.target_type == "ip" else "healthy"


def _function(watch: Watch, arn: str) -> bool:
    return lambda_svc._functions.get_scoped(watch.account, watch.region, arn.split(":")[6]) is not None


def _reaches(watch: Watch, balancer, group, target: str, port: int) -> bool:
    """Whether security groups let the balancer out to a target, and the target lets it in."""
    ec2 = ec2_backends[watch.account][watch.region]
    if group.target_type == "instance":
        instance = ec2.get_instance_by_id(target)
        theirs = {each.id: each for nic in instance.nics.values() for each in nic.group_set}
        address = instance.private_ip
    else:
        task = next(task for task in deployments.tasks.values() if (group.arn, target, port) in task.targets)
        theirs = {each.id: each for each in task.interface.group_set}
        address = target
    ours = [ec2.get_security_group_from_id(each) for each in balancer.security_groups or []]
    ranges = [subnet.cidr_block for subnet in balancer.subnets]
    comes_in = any(_lets(rule, port, set(balancer.security_groups or []), ranges)
                   for each in theirs.values() for rule in each.ingress_rules)
    goes_out = not ours or any(_lets(rule, port, set(theirs), [f"{address}/32"])
                               for each in ours for rule in each.egress_rules)
    return comes_in and goes_out


def _lets(rule, port: int, groups: set[str], ranges: list[str]) -> bool:
    """Whether a rule lets these groups, or all of these ranges, through on a port."""
    if not _covers(rule, port):
        return False
    if rule.source_group.get("GroupId") in groups:
        return True
    return bool(rule.cidr_ipv4) and all(
        ip_network(each).subnet_of(ip_network(rule.cidr_ipv4)) for each in ranges)


def _covers(rule, port: int) -> bool:
    return rule.ip_protocol == "-1" or (
        rule.ip_protocol == "tcp" and int(rule.from_port) <= port <= int(rule.to_port))


def _records(watch: Watch, ours: list) -> Iterator[tuple[tuple, Path]]:
    """Records that are aliases of balancers, and what each listener there does with who comes by them."""
    names = {balancer.dns_name.lower(): balancer for balancer in ours}
    for (account, zone), records in list(route53._records._data.items()):
        for record in records if account == watch.account else []:
            alias = (record.get("AliasTarget") or {}).get("DNSName", "").lower()
            key, name = ("dns", zone, record["Name"], record["Type"]), f"record {record['Name']} {record['Type']}"
            if not alias or (".elb." not in alias and key not in watch.served):
                continue
            balancer = names.get(alias.rstrip(".").removeprefix("dualstack."))
            if balancer is None:
                yield key, Path(name, f"{alias} is no balancer of the environment")
                continue
            yield key, Path(name, None)
            for listener in balancer.listeners.values():
                default = list(listener.rules.values())[-1]
                why = _rule(watch, balancer, listener, default)
                yield (*key, str(listener.port)), Path(f"{name} on port {listener.port}", why)


def _methods(watch: Watch) -> Iterator[tuple[tuple, Path]]:
    """The methods that the stages of the environment's APIs serve."""
    for api in apigateway_backends[watch.account][watch.region].apis.values():
        if (api.tags or {}).get(ENVIRONMENT) != watch.environment:
            continue
        for stage in api.stages.values():
            for method in apigateway.served(api, stage):
                name = f"{method.verb} {method.path} of API {api.name}/{stage.name}"
                yield (api.id, stage.name, method.verb, method.path), Path(name, _method(watch, method))


def _method(watch: Watch, method) -> str | None:
    if method.link is None:
        return None
    link = apigateway.link(watch.region, method.link)
    if link is None or link.shown()["status"] != "AVAILABLE":
        return f"VPC link {method.link} is {link.shown()['status'] if link else 'gone'}"
    host, _, port = method.uri.split("//", 1)[-1].split("/")[0].partition(":")
    elb = elbv2_backends[watch.account][watch.region]
    balancer = next((elb.load_balancers[arn] for arn in link.targets if arn in elb.load_balancers), None)
    if balancer is None or balancer.dns_name.lower() != host.lower():
        return f"VPC link {method.link} doesn't lead to {host}"
    for listener in balancer.listeners.values():
        if str(listener.port) == (port or "80"):
            return _rule(watch, balancer, listener, list(listener.rules.values())[-1])
    return f"{balancer.name} has no listener on port {port or 80}"
