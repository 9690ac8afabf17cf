"""Reads two scrapes with Prometheus' own Python library, checks them strictly, and prints the second as JSON.

Usage: scrape.py BEFORE AFTER
"""

import json
import math
import sys

from prometheus_client.parser import text_string_to_metric_families


def key(sample):
    return sample.name, tuple(sorted(sample.labels.items()))


def read(path):
    """The families of a scrape, by name."""
    with open(path, encoding="utf-8", newline="") as file:
        text = file.read()
    assert text.endswith("\n") and "\r" not in text, "lines end in a line feed"
    for prefix in ("# HELP ", "# TYPE "):
        names = [line.split(" ")[2] for line in text.split("\n") if line.startswith(prefix)]
        assert len(names) == len(set(names)), f"a second {prefix}for one name"
    families = {}
    for family in text_string_to_metric_families(text):
        assert family.name not in families, f"{family.name} comes twice"
        assert family.documentation.endswith("."), f"{family.name} has no sentence of help"
        assert family.type in ("counter", "gauge", "histogram"), f"{family.name} is a {family.type}"
        assert family.samples, f"{family.name} has no samples"
        families[family.name] = family
    return families


def check(family):
    """One family is sound in itself."""
    keys = [key(sample) for sample in family.samples]
    assert len(keys) == len(set(keys)), f"{family.name} has a series twice"
    labels = {tuple(sorted(set(sample.labels) - {"le"})) for sample in family.samples}
    assert len(labels) == 1, f"{family.name} has series with different labels: {labels}"
    for sample in family.samples:
        assert math.isfinite(sample.value), f"{sample} is no number"
        if family.type == "counter":
            assert sample.name == family.name + "_total" and sample.value >= 0, sample
        elif family.type == "gauge":
            assert sample.name == family.name and not family.name.endswith("_total"), sample
        else:
            assert sample.name in {family.name + end for end in ("_bucket", "_sum", "_count")}, sample
    if family.type == "histogram":
        check_histogram(family)


def check_histogram(family):
    """The buckets of each series are in order and never fall, and the last one is the count."""
    series = {}
    for sample in family.samples:
        labels = tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))
        series.setdefault(labels, []).append(sample)
    for labels, samples in series.items():
        buckets = [(float(s.labels["le"]), s.value) for s in samples if s.name.endswith("_bucket")]
        bounds, counts = zip(*buckets)
        assert list(bounds) == sorted(set(bounds)) and bounds[-1] == math.inf, (family.name, bounds)
        assert bounds[0] == 0.0001 and bounds[-2] == 60, (family.name, bounds)
        assert list(counts) == sorted(counts), (family.name, labels, counts)
        single = {s.name: s.value for s in samples if not s.name.endswith("_bucket")}
        count, total = single[family.name + "_count"], single[family.name + "_sum"]
        assert count == counts[-1], (family.name, labels)
        assert total > 0 if count else total == 0, (family.name, labels)


def check_growth(before, after):
    """What only grows has not shrunk, and nothing has gone."""
    for name, family in before.items():
        assert name in after and after[name].type == family.type, f"{name} has gone"
        now = {key(sample): sample.value for sample in after[name].samples}
        for sample in family.samples:
            assert key(sample) in now, f"{sample} has gone"
            if family.type in ("counter", "histogram"):
                assert now[key(sample)] >= sample.value, f"{sample} fell to {now[key(sample)]}"


before, after = read(sys.argv[1]), read(sys.argv[2])
for scrape in (before, after):
    for family in scrape.values():
        check(family)
check_growth(before, after)
print(json.dumps([
    {"name": sample.name, "labels": sample.labels, "value": sample.value}
    for family in after.values()
    for sample in family.samples
]))
