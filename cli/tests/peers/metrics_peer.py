"""Reads a page of metrics by Prometheus' own parser, and tells of each family its type, its help and how many samples it has."""

import json
import sys
from urllib.request import ProxyHandler, build_opener

from prometheus_client.parser import text_string_to_metric_families

with build_opener(ProxyHandler({})).open(sys.argv[1], timeout=60) as page:
    text = page.read().decode()
families = {}
for family in text_string_to_metric_families(text):
    assert family.name not in families, f"{family.name} comes twice"
    families[family.name] = {"type": family.type, "help": family.documentation, "samples": len(family.samples)}
print(json.dumps(families))
