"""Reads files of ops/ as others do, for tests.

    read.py yaml FILE         the documents in it, as JSON
    read.py dashboard FILE    what Grafana's own model of a dashboard does not take over from it, a line each; nothing when it is whole
"""

import json
import sys

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard


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
        else:
            register_default_plugins()
            dashboard = json.load(opened)
            taken = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))
            print("\n".join(lost(dashboard, taken)), end="")


main(*sys.argv[1:])
