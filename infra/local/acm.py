"""ACM: certificates that are issued once their records are seen, and what AWS refuses of them."""

import re
import time
from collections.abc import Callable
from datetime import UTC

from moto.acm.models import AWSCertificateManagerBackend, CertBundle, acm_backends
from moto.acm.responses import AWSCertificateManagerResponse
from moto.core.exceptions import AWSError
from moto.elbv2.models import elbv2_backends

from . import lifecycle, route53

# Domains whose records are in somebody else's DNS, as a test said.
elsewhere: set[str] = set()
# The share of a certificate's time after which ACM says what validates it.
FIRST_MOMENT = 0.05


class Refusal(AWSError):
    """An error of ACM's that moto has no class for."""

    def __init__(self, code: str, message: str):
        super().__init__(message, exception_type=code)


def install() -> None:
    CertBundle.check = _check
    CertBundle.describe = _describe(CertBundle.describe)
    AWSCertificateManagerBackend.request_certificate = _request(
        AWSCertificateManagerBackend.request_certificate)
    AWSCertificateManagerBackend.delete_certificate = _delete(AWSCertificateManagerBackend.delete_certificate)
    AWSCertificateManagerBackend.list_certificates = _list(AWSCertificateManagerBackend.list_certificates)
    AWSCertificateManagerResponse.list_certificates = _summaries(
        AWSCertificateManagerResponse.list_certificates)


def validate(domain: str) -> None:
    """From now on the domain's records count as created in its DNS, which isn't Route 53."""
    elsewhere.add(_base(domain))


def _base(name: str) -> str:
    return name.removeprefix("*.").lower()


def _check(bundle: CertBundle) -> None:
    """It waits for its records, and then for ACM to see them.

    https://docs.aws.amazon.com/acm/latest/userguide/dns-validation.html
    """
    if bundle.status != "PENDING_VALIDATION":
        return
    seen = getattr(bundle, "seen", {})
    records = route53.public_records()
    for option in bundle.plain_describe()["Certificate"].get("DomainValidationOptions", []):
        record = option["ResourceRecord"]
        there = _base(option["DomainName"]) in elsewhere or (
            record["Name"].rstrip("."), "CNAME", record["Value"].rstrip(".")) in records
        if not there:
            seen.pop(option["DomainName"], None)
        else:
            seen.setdefault(option["DomainName"], time.time())
    bundle.seen = seen
    names = {name for name in [*bundle.sans, bundle.common_name] if name}
    if names <= seen.keys() and all(lifecycle.ready("certificate", since) for since in seen.values()):
        bundle.status, bundle.issued = "ISSUED", time.time()


def _describe(plain: Callable) -> Callable:
    """https://docs.aws.amazon.com/acm/latest/APIReference/API_CertificateDetail.html"""
    CertBundle.plain_describe = plain

    def describe(bundle: CertBundle) -> dict:
        answer = plain(bundle)
        detail = answer["Certificate"]
        detail["InUseBy"] = _used_by(bundle.arn)
        for option in detail.get("DomainValidationOptions", []):
            issued = option["DomainName"] in getattr(bundle, "seen", {}) and bundle.status == "ISSUED"
            option["ValidationStatus"] = "SUCCESS" if issued else "PENDING_VALIDATION"
            # "When you create a certificate … there is a delay of several seconds."
            # https://docs.aws.amazon.com/acm/latest/APIReference/API_RequestCertificate.html
            created = bundle.created_at.replace(tzinfo=UTC).timestamp()
            if not lifecycle.ready("certificate", created, FIRST_MOMENT):
                del option["ResourceRecord"]
        if bundle.type == "AMAZON_ISSUED":
            detail.pop("IssuedAt", None)
            if bundle.status == "ISSUED":
                detail["IssuedAt"] = getattr(bundle, "issued", detail["CreatedAt"])
            else:
                for name in ("NotAfter", "NotBefore", "Serial", "Issuer"):
                    detail.pop(name, None)
        return answer

    return describe


def _used_by(arn: str) -> list[str]:
    """The balancers with a listener that has this certificate."""
    region, account = arn.split(":")[3:5]
    balancers = elbv2_backends[account][region].load_balancers
    return [balancer.arn for balancer in balancers.values()
            if any(arn in listener.certificates for listener in balancer.listeners.values())]


def _request(plain: Callable) -> Callable:
    """The token's form; and a token whose certificate is gone asks for another.

    https://docs.aws.amazon.com/acm/latest/APIReference/API_RequestCertificate.html
    """
    def request(self, domain_name, idempotency_token, subject_alt_names, tags, *rest):
        if idempotency_token and not re.fullmatch(r"\w{1,32}", idempotency_token):
            raise Refusal("ValidationException",
                          f"Value '{idempotency_token}' at 'idempotencyToken' failed to satisfy constraint")
        known = self._idempotency_tokens.get(idempotency_token)
        if known and known["arn"] not in self._certificates:
            del self._idempotency_tokens[idempotency_token]
        return plain(self, domain_name, idempotency_token, subject_alt_names, tags, *rest)

    return request


def _delete(plain: Callable) -> Callable:
    """https://docs.aws.amazon.com/acm/latest/APIReference/API_DeleteCertificate.html"""
    def delete(self, arn: str) -> None:
        if arn in self._certificates and (users := _used_by(arn)):
            raise Refusal("ResourceInUseException",
                          f"Certificate {arn} in account {self.account_id} is in use by {', '.join(users)}.")
        plain(self, arn)

    return delete


def _list(plain: Callable) -> Callable:
    """Unasked, only those with these keys.

    https://docs.aws.amazon.com/acm/latest/APIReference/API_Filters.html
    """
    def listed(self, statuses, includes):
        return plain(self, statuses, {"keyTypes": ["RSA_1024", "RSA_2048"], **(includes or {})})

    return listed


# https://docs.aws.amazon.com/acm/latest/APIReference/API_CertificateSummary.html
SUMMARY = ("CertificateArn", "DomainName", "Status", "Type", "KeyAlgorithm", "NotBefore", "NotAfter",
           "CreatedAt", "IssuedAt", "ImportedAt", "RenewalEligibility", "InUse", "Exported")


def _summaries(plain: Callable) -> Callable:
    def summaries(self):
        answer = plain(self)
        full = answer.result["CertificateSummaryList"]
        answer.result["CertificateSummaryList"] = [
            {**{name: each[name] for name in SUMMARY if name in each},
             "SubjectAlternativeNameSummaries": each["SubjectAlternativeNames"],
             "HasAdditionalSubjectAlternativeNames": False} for each in full]
        return answer

    return summaries
