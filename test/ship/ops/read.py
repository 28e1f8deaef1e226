"""Reads files of ops/ as others do, for tests.

    read.py yaml FILE         the documents in it, as JSON
    read.py bill FILE         what CycloneDX's strict schema and SPDX say against it; nothing when it is a bill of materials
    read.py dashboard FILE    what Grafana's own model of a dashboard does not take over from it, a line each; nothing when it is whole
"""

import json
import sys

import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.spdx import is_expression
from cyclonedx.validation.json import JsonStrictValidator
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard


def unknown(bill):
    """Licences that are no expressions of SPDX, which the schema takes for any text."""
    for part in bill["components"]:
        for licence in part.get("licenses", []):
            if "expression" in licence and not is_expression(licence["expression"]):
                yield f"{part['name']} has the licence {licence['expression']}"


def lost(there, taken, path=""):
    """Paths of what is there, and is not taken, or as something else."""
    if isinstance(there, dict) and isinstance(taken, dict):
        for key, value in there.items():
            yield from lost(value, taken[key], f"{path}/{key}") if key in taken else [f"{path}/{key}"]
    elif isinstance(there, list) and isinstance(taken, list) and len(there) == len(taken):
        for index, (one, other) in enumerate(zip(there, taken)):
            yield from lost(one, other, f"{path}/{index}")
    elif there != taken:
        yield path


def main(what, file):
    with open(file, encoding="utf-8") as opened:
        if what == "yaml":
            json.dump(list(yaml.safe_load_all(opened)), sys.stdout)
        elif what == "bill":
            text = opened.read()
            said = [JsonStrictValidator(SchemaVersion.V1_6).validate_str(text), *unknown(json.loads(text))]
            print("\n".join(str(one) for one in said if one), end="")
        else:
            register_default_plugins()
            dashboard = json.load(opened)
            taken = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))
            print("\n".join(lost(dashboard, taken)), end="")


main(*sys.argv[1:])
