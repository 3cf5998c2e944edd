"""Route 53, which ministack answers: changes that spread, names as they are stored, what AWS refuses."""

import re
import time
from collections.abc import Callable

from ministack.core.responses import get_account_id
from ministack.services import route53
from moto.ec2.models import ec2_backends

from . import lifecycle

# References are good for one zone, also when that is gone; by account.
_references: set[tuple[str, str]] = set()
# When a change was asked for.
_begun: dict[str, float] = {}


def install() -> None:
    route53._new_change = _new_change(route53._new_change)
    route53._get_change = _get_change(route53._get_change)
    route53._create_hosted_zone = _create_zone(route53._create_hosted_zone)
    route53._parse_vpc = _parse_vpc(route53._parse_vpc)
    route53._parse_record_set = _parse_record(route53._parse_record_set)
    route53._change_resource_record_sets = _change_records(route53._change_resource_record_sets)


def public_records() -> list[tuple[str, str, str]]:
    """What the public zones of the account say: (name, type, value), without dots at the end."""
    with route53._lock:
        return [(record["Name"].rstrip("."), record["Type"], value.rstrip("."))
                for zone in route53._zones.values() if not zone.get("private")
                for record in route53._records[zone["id"]] for value in record.get("ResourceRecords", [])]


def _new_change(plain: Callable) -> Callable:
    """A change is PENDING until every server has it; without a scale they have it at once.

    https://docs.aws.amazon.com/Route53/latest/APIReference/API_ChangeInfo.html
    """
    def new_change(comment: str = "") -> dict:
        change = plain(comment)
        _begun[change["id"]] = time.time()
        _spread(change)
        return change

    return new_change


def _spread(change: dict) -> None:
    done = lifecycle.ready("route53-change", _begun[change["id"]])
    change["status"] = "INSYNC" if done else "PENDING"


def _get_change(plain: Callable) -> Callable:
    def get_change(change_id: str) -> tuple:
        change = route53._changes.get(change_id)
        if change:
            _spread(change)
        answer = plain(change_id)
        if change:
            _spread(change)
        return answer

    return get_change


def _create_zone(plain: Callable) -> Callable:
    """A reference that was used is refused, and so is a VPC that isn't there.

    https://docs.aws.amazon.com/Route53/latest/APIReference/API_CreateHostedZone.html
    """
    def create(body: bytes, query: dict) -> tuple:
        root = route53._parse_body(body)
        reference = (get_account_id(), route53._text(root, "CallerReference") if root is not None else "")
        if reference in _references:
            return route53._error_response(
                "HostedZoneAlreadyExists",
                f"A hosted zone has already been created with the caller reference {reference[1]}.", 409)
        answer = plain(body, query)
        if answer[0] == 201:
            _references.add(reference)
        return answer

    return create


def _parse_vpc(plain: Callable) -> Callable:
    """https://docs.aws.amazon.com/Route53/latest/APIReference/API_VPC.html"""
    def parse(root) -> tuple:
        vpc, error = plain(root)
        if vpc and vpc["VPCId"] not in ec2_backends[get_account_id()][vpc["VPCRegion"]].vpcs:
            return None, route53._error_response("InvalidVPCId", f"The VPC ID {vpc['VPCId']} is not valid.")
        return vpc, error

    return parse


def _parse_record(plain: Callable) -> Callable:
    """Names are stored in small letters, and `*` as its octal code.

    https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DomainNameFormat.html
    """
    def parse(element) -> dict:
        record = plain(element)
        record["Name"] = record["Name"].lower().replace("*", "\\052")
        if "AliasTarget" in record:
            record["AliasTarget"]["DNSName"] = record["AliasTarget"]["DNSName"].lower()
        return record

    return parse


def _change_records(plain: Callable) -> Callable:
    """https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/ResourceRecordTypes.html"""
    def change(zone_id: str, body: bytes) -> tuple:
        with route53._lock:
            before = list(route53._records.get(zone_id, []))
            zone = route53._zones.get(zone_id)
        if zone and (fault := _fault(zone["name"], before, body)):
            return route53._error_response("InvalidChangeBatch", f"[{fault}]")
        return plain(zone_id, body)

    return change


def _fault(zone: str, records: list[dict], body: bytes) -> str | None:
    root = route53._parse_body(body)
    batch = route53._find(root, "ChangeBatch") if root is not None else None
    changes = route53._find(batch, "Changes") if batch is not None else None
    after = {route53._rs_key(record) for record in records}
    written = []
    for change in route53._findall(changes, "Change") if changes is not None else []:
        record = route53._parse_record_set(route53._find(change, "ResourceRecordSet"))
        if route53._text(change, "Action") == "DELETE":
            after.discard(route53._rs_key(record))
        else:
            after.add(route53._rs_key(record))
            written.append(record)
    for record in written:
        name, kind = record["Name"], record["Type"]
        if name != zone and not name.endswith(f".{zone}"):
            return f"RRSet with DNS name {name} is not permitted in zone {zone}"
        if kind == "CNAME" and name == zone:
            return f"RRSet of type CNAME with DNS name {name} is not permitted at apex in zone {zone}"
        kinds = {key[1] for key in after if key[0] == name}
        if "CNAME" in kinds and len(kinds) > 1:
            return (f"RRSet of type {kind} with DNS name {name} is not permitted as it conflicts with other "
                    f"records with the same DNS name in zone {zone}")
        if kind == "TXT" and not all(_quoted(value) for value in record.get("ResourceRecords", [])):
            return ("Invalid Resource Record: 'FATAL problem: InvalidCharacterString (Value should be "
                    f"enclosed in quotation marks) encountered with {name}'")
    return None


def _quoted(value: str) -> bool:
    return bool(re.fullmatch(r'"[^"]{0,255}"( "[^"]{0,255}")*', value))
