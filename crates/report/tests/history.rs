//! Many runs over time: what is read, what is drawn, and where a change is marked.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers as well")]

#[expect(dead_code, reason = "these tests need no cluster")]
mod fixture;

use std::fs;
use std::path::Path;

use hybrid_cache_model::Temperature;
use hybrid_cache_model::sample::RunRecord;
use hybrid_cache_report::history::{Basis, HISTORY_FILE, History, Series};

/// The fixture of one day, slower by so many percent; its machine takes turns at being slow.
fn run(day: u32, percent: u64) -> RunRecord {
    let mut record = fixture::record();
    let machine = 100 + u64::from(day * 7 % 5) * 6;
    let jitter = 1000 + u64::from(day * 11 % 7);
    for sample in &mut record.samples {
        sample.wall_us = sample.wall_us * machine / 100;
        if sample.scenario == "python-only" {
            sample.wall_us = sample.wall_us * (100 + percent) / 100 * jitter / 1000;
        }
    }
    for peer in &mut record.peers {
        peer.wall_us = peer.wall_us * machine / 100;
    }
    record.provenance.started_at = format!("2026-{:02}-{:02}T09:00:00Z", 1 + day / 28, 1 + day % 28);
    record.provenance.revision = format!("{day:040x}");
    record
}

fn put(folder: &Path, name: &str, record: &RunRecord) {
    let folder = folder.join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("report.json"), serde_json::to_vec(record).unwrap()).unwrap();
}

/// Thirty days on one machine with a change on day 20, and four days on another one.
fn history(folder: &Path) {
    for day in 0..30 {
        let record = run(day, if day < 20 { 0 } else { 30 });
        // The order of names is not the order of time.
        put(folder, &format!("group-{}/run-{day}", day % 3), &record);
    }
    for day in 0..4 {
        let mut record = run(day * 5, 0);
        record.provenance.cpu = "Another <b>processor</b>".into();
        put(folder, &format!("other/run-{day}"), &record);
    }
    fs::create_dir_all(folder.join("broken")).unwrap();
    fs::write(folder.join("broken/report.json"), "{\"schema\": 1, ").unwrap();
    fs::create_dir_all(folder.join("old")).unwrap();
    fs::write(folder.join("old/report.json"), "{\"schema\": 99}").unwrap();
}

fn series<'a>(history: &'a History, scenario: &str, temperature: Temperature) -> &'a Series {
    let own = |series: &&Series| {
        series.scenario == scenario && series.temperature == temperature && series.points.len() == 30
    };
    history.series.iter().find(own).unwrap()
}

#[test]
fn a_change_is_marked_where_it_happened_and_a_slow_machine_is_none() {
    let folder = tempfile::tempdir().unwrap();
    history(folder.path());
    let history = History::read(folder.path()).unwrap();
    assert_eq!((history.runs.len(), history.machines.len()), (34, 2));
    let sorted = history
        .runs
        .windows(2)
        .all(|two| two[0].started_at <= two[1].started_at);
    assert!(sorted, "by the start, not by the name");
    let cached = series(&history, "python-only", Temperature::Cached);
    assert_eq!(cached.basis, Basis::ToPeer);
    let [change] = &cached.changes[..] else {
        panic!("{:#?}", cached.changes)
    };
    assert_eq!(history.runs[change.after].started_at, "2026-01-21T09:00:00Z");
    assert!((1.28..1.33).contains(&change.ratio.value), "{change:?}");
    let unchanged = series(&history, "system-only", Temperature::Cached);
    assert_eq!((unchanged.basis, unchanged.peer), (Basis::Time, None));
    for (series, _) in history.changes() {
        assert_eq!(
            series.scenario, "python-only",
            "the machine is slow in turns, which is no change"
        );
    }
    let lines = history.lines();
    assert!(lines[0].starts_with("34 runs on 2 machines"), "{lines:?}");
    let reported =
        "python-only, cached: 1.30× (1.30–1.30) as long, relative to direct exec, since 2026-01-21T09:00:00Z (";
    assert!(lines[1..3].iter().any(|line| line.starts_with(reported)), "{lines:?}");
    let json = serde_json::to_value(&history).unwrap();
    assert_eq!(json["runs"].as_array().unwrap().len(), 34);
    assert_eq!(json["series"][0]["scenario"], "bare");
    assert_eq!(json["series"][0]["points"][0]["n"], 36);
}

#[test]
fn what_cannot_be_read_is_named_and_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    history(folder.path());
    fs::create_dir_all(folder.path().join("folder/report.json")).unwrap();
    fs::create_dir_all(folder.path().join(".hidden")).unwrap();
    fs::write(folder.path().join(".hidden/report.json"), "no JSON").unwrap();
    std::os::unix::fs::symlink("/dev/zero", {
        fs::create_dir_all(folder.path().join("link")).unwrap();
        folder.path().join("link/report.json")
    })
    .unwrap();
    std::os::unix::fs::symlink(folder.path(), folder.path().join("around")).unwrap();
    let history = History::read(folder.path()).unwrap();
    let named: Vec<&str> = history.unreadable.iter().map(|one| one.folder.as_str()).collect();
    assert_eq!(named, ["broken", "folder", "link", "old"]);
    assert!(
        history.unreadable[3].why.contains("schema version 99"),
        "{:?}",
        history.unreadable
    );
    assert!(History::read(&folder.path().join("nothing")).is_err());
    let empty = tempfile::tempdir().unwrap();
    let none = History::read(empty.path()).unwrap();
    assert!(none.runs.is_empty() && none.series.is_empty());
    none.write(empty.path()).unwrap();
}

#[test]
fn another_definition_of_a_scenario_is_another_series() {
    let folder = tempfile::tempdir().unwrap();
    for day in 0..10 {
        let mut record = run(day, 0);
        if day >= 5 {
            record.scenarios[0].request.python_code.push_str("\n# and more");
        }
        put(folder.path(), &format!("{day:02}"), &record);
    }
    let history = History::read(folder.path()).unwrap();
    let own: Vec<(usize, usize)> = history
        .series
        .iter()
        .filter(|series| series.scenario == "python-only" && series.temperature == Temperature::Cached)
        .map(|series| (series.definition, series.points.len()))
        .collect();
    assert_eq!(own, [(1, 5), (2, 5)]);
}

/// Leaves the page in `target/tmp/history-fixture`, to be looked at in a browser.
#[test]
fn the_page_is_well_formed_self_contained_and_written_for_inspection() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("history-fixture");
    let _ = fs::remove_dir_all(&folder);
    history(&folder);
    let mut hostile = run(3, 0);
    hostile.provenance.revision = "<script>\u{202e}".into();
    hostile.scenarios[0].name = "<script>a</script>\u{1b}[2J".into();
    for sample in hostile
        .samples
        .iter_mut()
        .filter(|sample| sample.scenario == "python-only")
    {
        sample.scenario = "<script>a</script>\u{1b}[2J".into();
    }
    put(&folder, "a folder with % and #", &hostile);
    History::read(&folder).unwrap().write(&folder).unwrap();
    let page = fs::read_to_string(folder.join(HISTORY_FILE)).unwrap();
    let body = &page[page.find("<body>").unwrap()..page.find("</body>").unwrap() + "</body>".len()];
    let document = roxmltree::Document::parse(body).unwrap();
    let ids: Vec<&str> = document.descendants().filter_map(|node| node.attribute("id")).collect();
    for (at, id) in ids.iter().enumerate() {
        assert!(!ids[..at].contains(id), "the id {id} occurs twice");
    }
    for link in document.descendants().filter_map(|node| node.attribute("href")) {
        let known = link.strip_prefix('#').is_some_and(|id| ids.contains(&id));
        assert!(
            known || link.starts_with("./") && link.ends_with("report.html"),
            "{link}"
        );
    }
    assert!(page.contains("./a%20folder%20with%20%25%20and%20%23/report.html"));
    for word in ["<script", "http:", "https:", "@import", "\u{1b}", "\u{202e}", "NaN"] {
        assert!(!page.contains(word), "{word:?} is in the page");
    }
    let figures = document
        .descendants()
        .filter(|node| node.attribute("role") == Some("img"));
    for figure in figures {
        let children: Vec<&str> = figure.children().map(|child| child.tag_name().name()).collect();
        assert_eq!(children[..2], ["title", "desc"]);
    }
}
