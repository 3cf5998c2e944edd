"""Ties each field of a spec to the members of AWS's API that its value reaches (limits.yaml), and writes the values
that botocore's rules for these members refuse (crates/spec/src/check/limits/refused.json). A test of the crate spec
writes each of them into a spec and fails where it is taken. With --check the file is only compared."""

import json
import pathlib
import sys

import regex
import yaml
from botocore.session import get_session

ROOT = pathlib.Path(__file__).parents[2]
LIMITS = ROOT / "crates/spec/src/check/limits"
SCHEMA = json.loads((ROOT / "crates/spec/plinth.schema.json").read_text())
SPECS = [yaml.safe_load((LIMITS / f"{name}.yaml").read_text()) for name in ("fargate", "instances")]
LOADER = get_session().get_component("data_loader")
# Characters that some service refuses somewhere.
STRANGE = " é*?\":/@_.A,#;<$\n~%-"


def fields():
    """The path of each field that holds no others."""
    found = {}

    def walk(schema, path):
        while "$ref" in schema:
            schema = SCHEMA["$defs"][schema["$ref"].split("/")[-1]]
        forms = schema.get("anyOf") or schema.get("oneOf")
        if forms and not all("const" in form for form in forms):
            for form in forms:
                walk(form, path)
            return
        below = [(name, field) for name, field in schema.get("properties", {}).items()]
        if isinstance(schema.get("additionalProperties"), dict):
            found[".".join([*path, "(key)"])] = None
            below.append(("*", schema["additionalProperties"]))
        if "items" in schema:
            below.append(("[]", schema["items"]))
        for name, field in below:
            walk(field, [*path, name])
        if not below:
            found[".".join(path)] = None

    walk(SCHEMA, [])
    return list(found)


def member(name):
    """What botocore says of a member."""
    service, shape, *names = name.split(".")
    shapes = LOADER.load_service_model(service, "service-2")["shapes"]
    found = shapes[shape]
    for name in names:
        inner = found["members"][name] if found["type"] == "structure" else found[name]
        found = shapes[inner["shape"]]
    while found["type"] == "list":
        found = shapes[found["member"]["shape"]]
    return found


def samples(path):
    """What the specs beside the file say at a path."""
    for spec in SPECS:
        yield from at(spec, path.split("."))


def at(value, steps):
    if not steps:
        if not isinstance(value, (dict, list)):
            yield value
        return
    step, rest = steps[0], steps[1:]
    if step == "(key)" and isinstance(value, dict):
        yield from value
    elif step == "*" and isinstance(value, dict):
        for inner in value.values():
            yield from at(inner, rest)
    elif step == "[]" and isinstance(value, list):
        for inner in value:
            yield from at(inner, rest)
    elif isinstance(value, dict) and step in value:
        yield from at(value[step], rest)


def compiled(pattern):
    """One of botocore's patterns, which are Java's; they hold for the whole value."""
    surrogates = r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}(-\\u[dD][89a-fA-F][0-9a-fA-F]{2})?"
    pattern = regex.sub(surrogates, "", pattern)
    return regex.compile(regex.sub(r"\\u([0-9A-Fa-f]{4})", lambda code: regex.escape(chr(int(code[1], 16))), pattern))


def numbers(rule, how):
    """The numbers just outside of a rule's range."""
    ends = [rule[end] + step for end, step in (("min", -1), ("max", 1)) if end in rule]
    if how.get("as") in ("s", "d"):
        return [f"{end}{how['as']}" for end in ends]
    return [how["in"].format(end) for end in ends] if "in" in how else ends


def texts(rule, sample, how):
    """Texts that a rule refuses: too long, too short, no word of a list, with a character that doesn't fit."""
    around = how.get("as", "{}")
    if "max" in rule:
        yield {"text": sample, "length": rule["max"] + 1 - len(around.format(""))}
    if rule.get("min", 0) > len(around.format("")):
        yield ""
    if "enum" in rule:
        yield from ("nonesuch", sample + "x")
    if "pattern" in rule:
        pattern = compiled(rule["pattern"])
        middle = len(sample) // 2
        for strange in STRANGE:
            ways = (sample[:middle] + strange + sample[middle:], strange + sample, sample + strange)
            yield from [text for text in ways if not pattern.fullmatch(around.format(text))][:1]


def refused(rule, sample, how):
    """Values of a field that a member's rule refuses."""
    rule = {name: value for name, value in rule.items() if name not in how.get("except", {})}
    if rule["type"] in ("integer", "long", "double", "float"):
        return numbers(rule, how)
    if rule["type"] != "string" or sample is None:
        return []
    if "in" not in how:
        return list(texts(rule, str(sample), how))
    before, after = how["in"].split("{}")
    inside = str(sample).removeprefix(before).removesuffix(after)
    fit = [text for text in texts(rule, inside, how) if isinstance(text, str) and after[:1] not in text]
    return [how["in"].format(text) for text in fit]


def of_field(path, reached):
    """The values of a field that members of AWS's API refuse, by member."""
    sample = next(samples(path), None)
    values, seen = {}, set()
    for one in reached:
        name, how = next(iter(one.items())) if isinstance(one, dict) else (one, {})
        fresh = [value for value in refused(member(name), sample, how) if json.dumps(value) not in seen]
        seen.update(map(json.dumps, fresh))
        if fresh:
            values[name] = fresh
    return values


def main():
    table = {}
    for paths, reached in yaml.safe_load((ROOT / "tests/lint/limits.yaml").read_text()).items():
        table.update({path.strip(): reached for path in paths.split("|")})
    known = fields()
    wrong = [f"{path}: limits.yaml has it, and the language hasn't" for path in table if path not in known]
    wrong += [f"{path}: say in limits.yaml which members of AWS's API it reaches" for path in known if path not in table]
    reaching = {path: table[path] for path in known if isinstance(table.get(path), list)}
    specs = LIMITS.relative_to(ROOT)
    wrong += [f"{path}: no spec in {specs} says it" for path in reaching if next(samples(path), None) is None]
    values = {path: of_field(path, reached) for path, reached in reaching.items()}
    partitions = LOADER.load_data("endpoints")["partitions"]
    regions = {partition["partition"]: sorted(partition["regions"]) for partition in partitions}
    said = {"regions": regions, "specs": SPECS, "refused": {path: found for path, found in values.items() if found}}
    text = json.dumps(said, indent=1, ensure_ascii=False) + "\n"
    file = LIMITS / "refused.json"
    if "--check" not in sys.argv:
        file.write_text(text)
    elif not file.exists() or file.read_text() != text:
        wrong.append(f"{file.relative_to(ROOT)} is out of date; run tests/lint/limits.py")
    sys.exit("\n".join(wrong) or None)


main()
