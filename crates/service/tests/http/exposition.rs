//! A strict reader of Prometheus' text format (version 0.0.4), and the metrics held to it.

use std::collections::{BTreeMap, BTreeSet};

use super::place;

type Labels = BTreeMap<String, String>;

struct Family {
    kind: String,
    samples: Vec<(String, Labels, f64)>,
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && text.chars().all(|one| one.is_ascii_alphanumeric() || one == '_')
}

/// Reads `{a="b",c="d"}` and returns what follows it.
fn labels(text: &str) -> (Labels, &str) {
    let mut labels = Labels::new();
    let Some(mut rest) = text.strip_prefix('{') else {
        return (labels, text);
    };
    loop {
        let (name, after) = rest.split_once("=\"").unwrap();
        assert!(is_name(name), "{text}");
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().unwrap() {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next().unwrap().1 {
                    'n' => '\n',
                    same @ ('\\' | '"') => same,
                    other => panic!("\\{other} in {text}"),
                }),
                (_, other) => value.push(other),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "{name} twice: {text}");
        rest = &after[end + 1..];
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => return (labels, rest.strip_prefix('}').unwrap()),
        }
    }
}

/// Reads a whole page: each family once, HELP and TYPE before its samples, no sample twice.
fn read(text: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let (mut helped, mut current) = (String::new(), String::new());
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            helped = help.split_once(' ').unwrap().0.to_owned();
        } else if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').unwrap();
            assert!(
                is_name(name) && name == helped && ["counter", "gauge", "histogram"].contains(&kind),
                "{line}"
            );
            let family = Family {
                kind: kind.to_owned(),
                samples: Vec::new(),
            };
            assert!(families.insert(name.to_owned(), family).is_none(), "{name} twice");
            name.clone_into(&mut current);
        } else {
            let end = line.find(['{', ' ']).unwrap();
            let (labels, rest) = labels(&line[end..]);
            let value: f64 = rest.strip_prefix(' ').unwrap().parse().unwrap();
            let family: &mut Family = families.get_mut(&current).unwrap();
            let suffix = line[..end].strip_prefix(current.as_str()).unwrap();
            let fits = suffix.is_empty() != (family.kind == "histogram");
            assert!(fits && ["", "_bucket", "_sum", "_count"].contains(&suffix), "{line}");
            assert!(
                seen.insert(line[..line.rfind(' ').unwrap()].to_owned()),
                "twice: {line}"
            );
            family.samples.push((suffix.to_owned(), labels, value));
        }
    }
    families
}

/// Checks that buckets grow with their bounds up to `+Inf`, which is the count.
fn check_histogram(name: &str, family: &Family) {
    let mut series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    let mut counts = BTreeMap::new();
    for (suffix, labels, value) in &family.samples {
        let mut labels = labels.clone();
        match suffix.as_str() {
            "_bucket" => {
                let bound = labels.remove("le").unwrap();
                let bound = if bound == "+Inf" {
                    f64::INFINITY
                } else {
                    bound.parse().unwrap()
                };
                series.entry(labels).or_default().push((bound, *value));
            }
            "_count" => assert!(counts.insert(labels, *value).is_none()),
            _ => {}
        }
    }
    assert_eq!(series.len(), counts.len(), "{name}");
    for (labels, buckets) in series {
        assert!(
            buckets.is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1),
            "{name} {labels:?}"
        );
        assert_eq!(buckets.last().unwrap(), &(f64::INFINITY, counts[&labels]), "{name}");
    }
}

#[tokio::test]
async fn the_metrics_are_valid_in_prometheus_text_format() {
    let place = place::start().await;
    let id = place.started("print x").await;
    place.until(&id, "ended").await;
    place.get("/api/v1/tasks/nothing").await;
    let families = read(&place.get("/metrics").await.text());
    assert!(families.len() > 15);
    for (name, family) in &families {
        assert!(name.starts_with("hybrid_cache_"));
        assert_eq!(family.kind == "counter", name.ends_with("_total"), "{name}");
        assert!(family.samples.iter().all(|(.., value)| *value >= 0.0), "{name}");
        if family.kind == "histogram" {
            check_histogram(name, family);
        }
    }
    let histograms = families.values().filter(|family| family.kind == "histogram");
    assert_eq!(histograms.count(), 4);
    place.end().await;
}
