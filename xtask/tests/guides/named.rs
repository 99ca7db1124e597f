//! What pages and manifests name: metrics of the service, exit codes, sections.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::pages::root;

fn text(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Names that begin like a metric of the service.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_of_name = |letter: char| letter.is_ascii_lowercase() || letter == '_' || letter.is_ascii_digit();
    text.match_indices("hybrid_cache_")
        .filter(|(at, _)| !text[..*at].ends_with(|letter: char| is_of_name(letter) || letter == '/'))
        .map(|(at, _)| text[at..].chars().take_while(|&letter| is_of_name(letter)).collect())
        .collect()
}

/// A series of a histogram as the name of the histogram.
fn family<'a>(name: &'a str, exported: &BTreeSet<String>) -> &'a str {
    let parts = ["_bucket", "_sum", "_count"].iter();
    let whole = parts.filter_map(|part| name.strip_suffix(part));
    whole
        .into_iter()
        .find(|whole| exported.contains(*whole))
        .unwrap_or(name)
}

/// Metrics that the dashboard, the alerts or the page name and a service does not export, or the other way round.
/// The service is asked again until it has measured its volumes.
pub fn unknown_metrics(mut ask: impl FnMut() -> String, timeout: Duration) -> Vec<String> {
    let began = Instant::now();
    loop {
        let exported: BTreeSet<String> = ask()
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
            .collect();
        let problems = compared(&exported);
        if problems.is_empty() || began.elapsed() > timeout {
            return problems;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn compared(exported: &BTreeSet<String>) -> Vec<String> {
    let mut problems = Vec::new();
    let page = "docs/operations.md";
    for file in [
        "manifests/grafana-dashboard.json",
        "manifests/prometheus-alerts.yaml",
        page,
    ] {
        for name in metrics_in(&text(file)) {
            // A driver without standby pods has no metrics of them; the exporter's own test compares those.
            if !exported.contains(family(&name, exported)) && !name.starts_with("hybrid_cache_standby_") {
                problems.push(format!("{file}: the service exports no metric {name}: {exported:?}"));
            }
        }
    }
    let described = metrics_in(&text(page));
    let missing = exported.iter().filter(|name| !described.contains(*name));
    problems.extend(missing.map(|name| format!("{page} does not describe the metric {name}")));
    problems
}

#[test]
fn exit_codes_of_the_page_are_those_of_the_program() {
    let source = text("xtask/src/exit.rs");
    let (_, variants) = source.split_once("pub enum Exit {").unwrap();
    let (variants, _) = variants.split_once("\n}").unwrap();
    let coded = |line: &str| {
        line.trim()
            .split_once(" = ")?
            .1
            .trim_end_matches(',')
            .parse::<u32>()
            .ok()
    };
    let coded: Vec<u32> = variants.lines().filter_map(coded).collect();
    assert!(coded.len() > 5, "{coded:?}");
    let page = text("docs/troubleshooting.md");
    let (_, section) = page.split_once("\n## Exit codes of the command line\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let reported = |line: &str| line.strip_prefix("| ")?.split(' ').next()?.parse::<u32>().ok();
    let reported: Vec<u32> = section.lines().filter_map(reported).collect();
    assert_eq!(reported, coded);
}

/// The headings of a page, and what a link to each is called.
fn headings(page: &str) -> Vec<(String, String)> {
    let mut fenced = false;
    let lines = page.lines().filter(move |line| {
        fenced ^= line.trim_start().starts_with("```");
        !fenced
    });
    let heading = |line: &str| {
        let heading = line.trim_start_matches('#');
        let is_one = line.starts_with('#') && heading.starts_with(' ');
        is_one.then(|| heading.trim().to_owned())
    };
    let named = |heading: String| {
        let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
        let link: String = heading.to_lowercase().chars().filter(kept).collect();
        let link = link.replace(' ', "-");
        (heading, link)
    };
    lines.filter_map(heading).map(named).collect()
}

/// All files below a folder with one of these endings.
fn files(folder: &Path, endings: &[&str], into: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let ending = path.extension().unwrap_or_default();
        if path.is_dir() {
            files(&path, endings, into);
        } else if endings.iter().any(|one| ending == *one) {
            into.push(path);
        }
    }
}

fn all_files(endings: &[&str]) -> Vec<std::path::PathBuf> {
    let mut all: Vec<_> = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]
        .map(|name| root().join(name))
        .into();
    all.retain(|file| {
        endings
            .iter()
            .any(|one| file.extension().is_some_and(|ending| ending == *one))
    });
    for folder in [
        "crates",
        "xtask/src",
        "docs",
        "manifests",
        "images",
        "reports",
        "bench-scenarios",
    ] {
        files(&root().join(folder), endings, &mut all);
    }
    all
}

#[test]
fn every_section_that_a_message_or_a_link_names_is_in_its_page() {
    let mut problems = Vec::new();
    let mut named = 0;
    for file in all_files(&["rs", "md"]) {
        let text = std::fs::read_to_string(&file).unwrap();
        let is_page = file.extension().is_some_and(|ending| ending == "md");
        for (page, section) in sections_in(&text) {
            // A page names others as it sees them, a message as the root of the checkout does.
            let folder = if is_page { file.parent().unwrap() } else { &root() };
            let named_page = if page.is_empty() {
                file.clone()
            } else {
                folder.join(&page)
            };
            let named_page = if named_page.exists() {
                named_page
            } else {
                root().join(&page)
            };
            let Ok(there) = std::fs::read_to_string(&named_page) else {
                problems.push(format!("{}: there is no page {page}", file.display()));
                continue;
            };
            named += 1;
            let is_there = headings(&there)
                .into_iter()
                .any(|(heading, link)| section == heading || section == link);
            if !is_there {
                problems.push(format!("{}: {page} has no section {section:?}", file.display()));
            }
        }
    }
    assert!(named > 25, "only {named} were found: this shows little");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Sections that a text names: `](page.md#link)`, `"Heading" in docs/page.md` in a message, and `docs/page.md#link`.
fn sections_in(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let end = |letter: char| !(letter.is_alphanumeric() || matches!(letter, '-' | '_'));
    for (at, _) in text.match_indices(".md#") {
        let start = text[..at].rfind(|letter: char| !(letter.is_alphanumeric() || "-_./".contains(letter)));
        let page = &text[start.map_or(0, |at| at + 1)..at + 3];
        let section = text[at + 4..].split(end).next().unwrap_or_default();
        found.push((page.to_owned(), section.to_owned()));
    }
    for (at, _) in text.match_indices("](#") {
        let section = text[at + 3..].split(end).next().unwrap_or_default();
        found.push((String::new(), section.to_owned()));
    }
    for (at, mark) in text.match_indices("\\\" in docs/") {
        let heading = text[..at].rsplit("\\\"").next().unwrap_or_default();
        let page =
            text[at + mark.len() - 5..].split(|letter: char| !(letter.is_alphanumeric() || "-_./".contains(letter)));
        let page = page.into_iter().next().unwrap_or_default().trim_end_matches('.');
        found.push((page.to_owned(), heading.to_owned()));
    }
    // Anchors of the service's own pages are not those of a guide.
    found.retain(|(page, section)| !section.is_empty() && (page.is_empty() || page.len() > 3));
    found
}

#[test]
fn sections_are_found_however_a_text_names_them() {
    let text = "see [x](docs/a.md#one-two), [y](#here), see \\\"Big Words\\\" in docs/b.md.\n`docs/c.md#three`";
    let found = sections_in(text);
    let expected = [
        ("docs/a.md", "one-two"),
        ("docs/c.md", "three"),
        ("", "here"),
        ("docs/b.md", "Big Words"),
    ];
    assert_eq!(
        found,
        expected.map(|(page, section)| (page.to_owned(), section.to_owned()))
    );
    let page = "# A `b` (c)\n```\n# no heading\n```\n## Two words\n";
    let links: Vec<_> = headings(page).into_iter().map(|(_, link)| link).collect();
    assert_eq!(links, ["a-b-c", "two-words"]);
}

#[test]
fn the_paths_of_where_to_add_something_exist() {
    let page = text("ARCHITECTURE.md");
    let (_, section) = page.split_once("\n## Where to add …\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let is_path = |word: &&str| (!word.contains(' ') && word.contains('/')) || word.starts_with("bench-scenarios");
    let paths: BTreeSet<&str> = section.split('`').skip(1).step_by(2).filter(is_path).collect();
    assert!(paths.len() > 20, "only {} were found: this shows little", paths.len());
    let missing: Vec<_> = paths.into_iter().filter(|path| !root().join(path).exists()).collect();
    assert!(
        missing.is_empty(),
        "ARCHITECTURE.md names files that do not exist: {missing:?}"
    );
    for asked in [
        "a phase",
        "a check of `doctor`",
        "a scenario",
        "a page of the service",
        "a section of the report",
    ] {
        assert!(
            section.contains(&format!("\n| {asked}")),
            "there is no path for {asked}"
        );
    }
}
