//! Parses one requirement, `name [extras] specifiers ; marker`, and writes its normal form.

use std::collections::BTreeSet;

use super::marker;
use super::reference::{Reference, Referring};
use super::refusal::{Refusal, quote};
use super::specifier::specifier;

/// Reads one requirement and writes its normal form. The text has passed [`super::scan::check`].
pub(super) fn normalise(text: &str) -> Result<String, Refusal> {
    let (head, marker) = match text.split_once(';') {
        Some((head, marker)) => (trim(head), Some(trim(marker))),
        None => (trim(text), None),
    };
    let (name, rest) = head.split_at(name_end(head));
    let mut normal = normal_name(name, text)?;
    let (extras, rest) = split_extras(trim(rest))?;
    if let Some(extras) = extras {
        normal.push_str(&normal_extras(extras)?);
    }
    normal.push_str(&normal_specifiers(without_parentheses(trim(rest))?, name)?);
    if let Some(marker) = marker.map(marker::normalise).transpose()?.flatten() {
        normal.push_str(" ; ");
        normal.push_str(&marker);
    }
    Ok(normal)
}

/// Writes the normal form of a requirement with a reference: `name[extras] @ address ; marker`.
pub(super) fn normalise_reference(referring: &Referring<'_>) -> Result<String, Refusal> {
    let subject = referring.subject;
    let (name, rest) = subject.split_at(name_end(subject));
    let mut normal = normal_name(name, subject)?;
    if let Reference::Wheel { url, .. } = &referring.reference {
        let file = url.rsplit('/').next().unwrap_or_default();
        let own = file.split('-').next().unwrap_or_default();
        if normal_name(own, own).as_ref() != Ok(&normal) {
            let message = format!(
                "{} with the wheel {}, which is another package",
                quote(name),
                quote(file)
            );
            return Err(Refusal::new(message, "name the package of the wheel"));
        }
    }
    let (extras, rest) = split_extras(trim(rest))?;
    if let Some(extras) = extras {
        normal.push_str(&normal_extras(extras)?);
    }
    if !trim(rest).is_empty() {
        return Err(not_a_specifier(trim(rest), name));
    }
    normal.push_str(" @ ");
    normal.push_str(&referring.reference.address());
    if let Some(marker) = referring.marker.map(marker::normalise).transpose()?.flatten() {
        normal.push_str(" ; ");
        normal.push_str(&marker);
    }
    Ok(normal)
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

fn name_end(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-'))
        .unwrap_or(text.len())
}

/// A name as PEP 503 normalises it: lower case, and one hyphen for each run of `-`, `_` and `.`.
pub(super) fn normal_name(name: &str, whole: &str) -> Result<String, Refusal> {
    if name.is_empty() {
        let hint = "begin with a package's name, such as `numpy>=2`";
        return Err(Refusal::new(
            format!("no package name at the start of {}", quote(whole)),
            hint,
        ));
    }
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if !edge(name.chars().next()) || !edge(name.chars().next_back()) {
        let hint = "a name begins and ends with a letter or a digit";
        return Err(Refusal::new(format!("{} is not a name", quote(name)), hint));
    }
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    Ok(parts.collect::<Vec<_>>().join("-").to_ascii_lowercase())
}

/// The text between brackets, if there are any, and what follows.
fn split_extras(text: &str) -> Result<(Option<&str>, &str), Refusal> {
    let Some(inner) = text.strip_prefix('[') else {
        return Ok((None, text));
    };
    let Some((extras, rest)) = inner.split_once(']') else {
        return Err(Refusal::new(
            format!("an unclosed bracket: {}", quote(text)),
            "close the extras with `]`",
        ));
    };
    Ok((Some(extras), rest))
}

/// `[a,b]`, sorted and without repeats; nothing if no extra is named.
fn normal_extras(text: &str) -> Result<String, Refusal> {
    if trim(text).is_empty() {
        return Ok(String::new());
    }
    let mut extras = BTreeSet::new();
    for extra in text.split(',').map(trim) {
        let hint = "extras are names between brackets: `pandas[excel,plot]`";
        if extra.is_empty() {
            return Err(Refusal::new(
                format!("an empty extra in {}", quote(&format!("[{text}]"))),
                hint,
            ));
        }
        if name_end(extra) != extra.len() {
            return Err(Refusal::new(format!("{} is not an extra", quote(extra)), hint));
        }
        extras.insert(normal_name(extra, extra)?);
    }
    Ok(format!("[{}]", extras.into_iter().collect::<Vec<_>>().join(",")))
}

/// The specifiers of `name (>=1,<2)`, as PEP 508 allows them.
fn without_parentheses(text: &str) -> Result<&str, Refusal> {
    let Some(inner) = text.strip_prefix('(') else {
        return Ok(text);
    };
    let hint = "write the versions without parentheses: `numpy>=1.2`";
    match inner.strip_suffix(')').map(trim) {
        Some("") => Err(Refusal::new("nothing between parentheses", hint)),
        Some(inner) => Ok(inner),
        None => Err(Refusal::new(format!("an unclosed parenthesis: {}", quote(text)), hint)),
    }
}

/// Specifiers as PEP 440 normalises them, sorted by version, without repeats.
fn normal_specifiers(text: &str, name: &str) -> Result<String, Refusal> {
    if text.is_empty() {
        return Ok(String::new());
    }
    if !text.starts_with(['<', '>', '=', '!', '~']) {
        return Err(not_a_specifier(text, name));
    }
    let mut specifiers = text
        .split(',')
        .map(|one| specifier(trim(one)))
        .collect::<Result<Vec<_>, _>>()?;
    // PEP 440 takes 1.0 and 1 for equal: the text decides among equals, so that the order is the same in every run.
    specifiers.sort_by_cached_key(|one| (one.version().clone(), one.to_string()));
    let mut texts: Vec<String> = specifiers.iter().map(ToString::to_string).collect();
    texts.dedup();
    Ok(texts.join(","))
}

fn not_a_specifier(text: &str, name: &str) -> Refusal {
    let hint = match text.chars().next() {
        Some('^') => format!("`^` is another tool's; write both bounds: `{name}>=1.2,<2`"),
        Some(',') => "give each requirement a line of its own, without a comma".to_owned(),
        Some(c) if c.is_ascii_digit() => format!(
            "put a comparison before the version: `{name}=={}`",
            leading_version(text)
        ),
        Some(c) if c.is_ascii_alphanumeric() => {
            "put a comma between requirements of a list, a new line in a file".to_owned()
        }
        _ => format!(
            "after the name come extras, versions or a marker: `{name}[extra]>=1.2 ; python_version >= \"3.11\"`"
        ),
    };
    Refusal::new(format!("{} after the name {}", quote(text), quote(name)), hint)
}

fn leading_version(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '.')
        .take(20)
        .collect()
}
