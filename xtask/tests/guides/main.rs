//! The guides, as a reader copies from them: every command that a page shows runs, and what a page names is there.
//!
//! `guides/rows.rs` says of each command how it is tried. A new command in a page needs a row there.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

mod named;
mod pages;
mod rows;
mod session;
mod table;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use pages::{Shown, shown};
use rows::ROWS;
use session::{CONFIG_VARIABLE, CONTEXT_VARIABLE, Ended, Session};
use table::{Lane, Row, Way};

/// How long the service may take to measure its volumes.
const MEASURED_TIMEOUT: Duration = Duration::from_secs(60);

#[test]
fn every_command_of_the_guides_has_a_row_that_says_how_it_is_tried() {
    let all = shown();
    assert!(all.len() > 100, "only {} were found: this shows little", all.len());
    let mut problems: Vec<String> = all
        .iter()
        .filter(|shown| row(shown).is_none())
        .map(|shown| {
            format!("{shown} is in no row of xtask/tests/guides/rows.rs\nhint: add one that says how it is tried")
        })
        .collect();
    let commands: BTreeSet<&str> = all.iter().map(|shown| shown.command.as_str()).collect();
    let mut seen = BTreeSet::new();
    for row in ROWS {
        if !commands.contains(row.command) {
            problems.push(format!(
                "xtask/tests/guides/rows.rs: no page shows `{}`\nhint: delete its row",
                row.command
            ));
        }
        if !seen.insert(row.command) {
            problems.push(format!("xtask/tests/guides/rows.rs: two rows have `{}`", row.command));
        }
        if (row.way == Way::Setting) != pages::is_setting(row.command) {
            problems.push(format!(
                "xtask/tests/guides/rows.rs: `{}` sets something for the lines after it, or does not",
                row.command
            ));
        }
        if let Way::Elsewhere(why) = row.way {
            println!("not run by this test: `{}`: {why}", row.command);
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn commands_for_tasks_and_caches_run() {
    run_lane(Lane::Tasks, "commands_for_tasks_and_caches_run");
}

#[test]
fn commands_that_size_attack_and_check_run() {
    run_lane(Lane::Trials, "commands_that_size_attack_and_check_run");
}

fn run_lane(lane: Lane, test: &str) {
    if no_tools(test) {
        return;
    }
    let mut tried = Tried::new(Session::new());
    tried.run_all(Way::Local(lane));
    tried.report();
}

#[test]
fn the_example_with_hera_renders_a_workflow() {
    let mut tried = Tried::new(Session::new());
    tried.run_all(Way::Local(Lane::Hera));
    tried.report();
}

#[test]
fn commands_of_the_task_api_run_against_a_service() {
    if no_tools("commands_of_the_task_api_run_against_a_service") {
        return;
    }
    let mut session = Session::new();
    let serves = ROWS.iter().find(|row| row.way == Way::Serves).unwrap();
    let mut service = session.start(serves, &first_shown(serves));
    let said = service.until(serves.printed).unwrap_or_else(|said| panic!("{said}"));
    let port = said.split("listening on http://127.0.0.1:").nth(1).unwrap();
    let port: String = port.chars().take_while(char::is_ascii_digit).collect();
    session.replace("localhost:8000", &format!("localhost:{port}"));
    let mut tried = Tried::new(session);
    for row in ROWS.iter().filter(|row| row.way == Way::Service) {
        let printed = tried.run(row);
        if let Some(id) = id_of(&printed) {
            tried.session.replace("task-abc123", &id);
        }
    }
    let problems = named::unknown_metrics(|| metrics(&mut tried.session), MEASURED_TIMEOUT);
    tried.problems.extend(problems);
    let ended = service.end();
    assert_eq!(ended.code, Some(0), "{}", ended.printed);
    tried.report();
}

/// The id of a task that a response gives.
fn id_of(printed: &str) -> Option<String> {
    let (_, rest) = printed.split_once("{\"id\":\"task-")?;
    rest.split('"').next().map(|id| format!("task-{id}"))
}

fn metrics(session: &mut Session) -> String {
    const CALL: Row = table::metrics_call();
    let shown = Shown {
        page: String::new(),
        line: 0,
        command: CALL.command.to_owned(),
        before: Vec::new(),
    };
    session.run(&CALL, &shown).printed
}

#[test]
fn commands_of_a_cluster_run_on_one() {
    let Ok(context) = std::env::var(CONTEXT_VARIABLE) else {
        for row in ROWS.iter().filter(|row| row.way == Way::Cluster) {
            println!("skipped: `{}`: {CONTEXT_VARIABLE} is not set", row.command);
        }
        return;
    };
    let mut tried = Tried::new(Session::on_cluster(&context));
    tried.run_all(Way::Local(Lane::Hera));
    tried.run_all(Way::Cluster);
    tried.report();
}

/// The row of a command.
fn row(shown: &Shown) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.command == shown.command)
}

/// The first place that shows a row's command.
fn first_shown(row: &Row) -> Shown {
    let found = shown().into_iter().find(|shown| shown.command == row.command);
    found.unwrap_or_else(|| panic!("no page shows `{}`", row.command))
}

/// Says so and is true if nobody provisioned the tools: these tests would bring them otherwise.
fn no_tools(test: &str) -> bool {
    let is_missing = std::env::var_os(CONFIG_VARIABLE).is_none();
    if is_missing {
        println!("skipped: {test}: {CONFIG_VARIABLE} is not set; `cargo xtask test` sets it");
    }
    is_missing
}

/// Rows that were tried one after the other. All of them run, whatever happened before.
struct Tried {
    session: Session,
    problems: Vec<String>,
}

impl Tried {
    fn new(session: Session) -> Tried {
        Tried {
            session,
            problems: Vec::new(),
        }
    }

    fn run_all(&mut self, way: Way) {
        for row in ROWS.iter().filter(|row| row.way == way) {
            self.run(row);
        }
    }

    /// What a row printed.
    fn run(&mut self, row: &Row) -> String {
        let shown = first_shown(row);
        if let Some(lack) = self.session.lacks(row) {
            println!("skipped: {shown}: {lack}");
            return String::new();
        }
        let began = Instant::now();
        let ended = if row.goes_on {
            let mut running = self.session.start(row, &shown);
            match running.until(row.printed) {
                Ok(_) => running.end(),
                Err(printed) => Ended { code: None, printed },
            }
        } else {
            self.session.run(row, &shown)
        };
        println!("time: {shown}: {:.2} s", began.elapsed().as_secs_f64());
        let is_good = ended.code.is_some_and(|code| row.codes.contains(&code));
        if !is_good || !ended.printed.contains(row.printed) {
            let (code, codes, printed) = (ended.code, row.codes, row.printed);
            self.problems.push(format!(
                "{shown} ended with {code:?} and not with one of {codes:?}, or did not print {printed:?}:\n{}",
                ended.printed
            ));
        }
        ended.printed
    }

    fn report(self) {
        assert!(self.problems.is_empty(), "{}", self.problems.join("\n\n"));
    }
}
