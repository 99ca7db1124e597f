//! The page of promises names each promise with its attacks and faults.

use std::path::Path;

use hybrid_cache_trials::promise::PROMISES;
use hybrid_cache_trials::{chaos, list};

use crate::tree::{Tree, report};

#[test]
fn every_promise_has_its_row_and_its_attacks_on_the_page() {
    let page = Tree::read().text(Path::new("docs/reliability.md"));
    let mut problems = Vec::new();
    for promise in PROMISES {
        let row = format!("| `{}`: {} |", promise.protection, promise.text);
        let Some(line) = page.lines().find(|line| line.starts_with(&row)) else {
            problems.push(format!("docs/reliability.md lacks a row that begins with {row}"));
            continue;
        };
        let attacks: Vec<_> = list::all()
            .into_iter()
            .filter(|attack| attack.promise == promise.protection)
            .collect();
        if attacks.is_empty() {
            problems.push(format!("no attack tests {}", promise.protection));
        }
        let missing = attacks
            .iter()
            .filter(|attack| !line.contains(&format!("`{}`", attack.id)));
        problems.extend(missing.map(|attack| format!("the row of {} lacks `{}`", promise.protection, attack.id)));
    }
    report(&problems);
}

#[test]
fn every_fault_stands_on_the_page_beside_its_promise() {
    let page = Tree::read().text(Path::new("docs/reliability.md"));
    let mut problems = Vec::new();
    for fault in chaos::list::all() {
        let row = format!("| `{}`: {} |", fault.promise, fault.promise.text());
        let line = page.lines().find(|line| line.starts_with(&row));
        if !line.is_some_and(|line| line.contains(&format!("`{}`", fault.id))) {
            problems.push(format!(
                "docs/reliability.md lacks `{}` in a row that begins with {row}",
                fault.id
            ));
        }
    }
    report(&problems);
}
