//! Labels of a task: pairs by which tasks are found again. Their form is that of Kubernetes, which an operator's settings use too.

use std::collections::BTreeMap;

use crate::requirement::Refusal;
use crate::task_error::{Faults, TaskErrors};

/// Most labels of one task.
pub const MAX_LABELS: usize = 64;
/// Longest value, and longest name behind a prefix, in bytes.
pub const MAX_LABEL_BYTES: usize = 63;
/// Longest prefix in bytes.
pub const MAX_PREFIX_BYTES: usize = 253;

const POINTER: &str = "/labels";

/// Checks the labels of a task.
pub(crate) fn check(labels: &BTreeMap<String, String>) -> Result<(), TaskErrors> {
    let mut faults = Faults::default();
    for (key, value) in labels {
        if let Err(refusal) = check_one(key, value) {
            faults.push(refusal.at(POINTER, None));
        }
    }
    if labels.len() > MAX_LABELS {
        let message = format!("{} labels, at most {MAX_LABELS} are accepted", labels.len());
        faults.push(Refusal::new(message, "leave some out").at(POINTER, None));
    }
    faults.result(())
}

/// Checks one label: the key is a name, with or without a DNS name and a `/` in front, and the value a name or empty.
///
/// # Errors
/// It is not a label.
pub fn check_one(key: &str, value: &str) -> Result<(), Refusal> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if !is_name(name) || !prefix.is_none_or(is_dns_name) {
        return Err(Refusal::new(
            format!("{} is not the key of a label", Refusal::quote(key)),
            "use letters, digits, `-`, `_` and `.`, at most 63, a letter or digit at both ends; \
             a lower-case DNS name and `/` may stand in front",
        ));
    }
    if !value.is_empty() && !is_name(value) {
        return Err(Refusal::new(
            format!(
                "{} is not the value of a label ({})",
                Refusal::quote(value),
                Refusal::quote(key)
            ),
            "use letters, digits, `-`, `_` and `.`, at most 63, a letter or digit at both ends; or leave it empty",
        ));
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    let edge = |letter: Option<u8>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    let inner = |letter: u8| letter.is_ascii_alphanumeric() || b"-_.".contains(&letter);
    edge(text.bytes().next()) && edge(text.bytes().last()) && text.bytes().all(inner) && text.len() <= MAX_LABEL_BYTES
}

/// True for a lower-case DNS name, which names most objects of Kubernetes.
pub(crate) fn is_dns_name(text: &str) -> bool {
    let edge = |letter: Option<u8>| letter.is_some_and(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit());
    let inner = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
    let is_part = |part: &str| {
        edge(part.bytes().next())
            && edge(part.bytes().last())
            && part.bytes().all(inner)
            && part.len() <= MAX_LABEL_BYTES
    };
    text.split('.').all(is_part) && text.len() <= MAX_PREFIX_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_the_form_of_kubernetes() {
        let (long, prefix) = ("a".repeat(63), format!("{}.b", "a".repeat(63)));
        for (key, value) in [
            ("team", "blue"),
            ("a", ""),
            ("app.kubernetes.io/name", "My_app-1.2"),
            (&long, &long),
            (&format!("{prefix}/x"), "0"),
        ] {
            assert_eq!(check_one(key, value), Ok(()), "{key}={value}");
        }
        let longer = "a".repeat(64);
        for (key, value) in [
            ("", ""),
            ("-a", ""),
            ("a-", ""),
            ("a b", ""),
            ("ä", ""),
            ("/a", ""),
            ("a/", ""),
            ("a/b/c", ""),
            ("A/b", ""),
            ("a..b/c", ""),
            (&longer, ""),
            (&format!("{}/a", "a.".repeat(130)), ""),
            ("a", "-"),
            ("a", "x y"),
            ("a", "x\n"),
            ("a", &longer),
        ] {
            assert!(check_one(key, value).is_err(), "{key}={value}");
        }
    }

    #[test]
    fn every_fault_of_the_labels_is_named() {
        let mut labels: BTreeMap<_, _> = (0..65).map(|number| (format!("k{number}"), String::new())).collect();
        labels.insert("a b".to_owned(), String::new());
        labels.insert("c".to_owned(), "<b>".to_owned());
        let errors = check(&labels).unwrap_err();
        assert_eq!((errors.total(), errors.first().pointer), (3, "/labels"));
        let reported = errors.to_string();
        assert!(
            reported.contains("`a b`") && reported.contains("`<b>`") && reported.contains("67 labels"),
            "{reported}"
        );
    }
}
