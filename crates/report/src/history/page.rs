//! A history as one self-contained page: what changed, then each series, apart for each machine, then the runs.

use hybrid_cache_model::sample::Completion;
use hybrid_cache_model::shown;
use hybrid_cache_web::{Tone, badge, document, inline_style, notice, scrolling};
use maud::{Markup, html};

use super::changes::{ChangePoint, MOST_FALSE};
use super::find::MOST_RUNS;
use super::overview::History;
use super::panel::{figure, tone};
use super::series::{HistoryRun, Series};
use crate::html::STYLE;
use crate::stats::MIN_ROUNDS;
use crate::units;

const OWN_STYLE: &str = include_str!("page.css");
/// Changes that the head of the page lists.
const MOST_CHANGES: usize = 20;

/// The whole page: no script, no font, no image, no request.
pub(super) fn page(history: &History) -> String {
    let body = html! {
        (header(history))
        main id="main" {
            section aria-labelledby="changes-heading" {
                h2 id="changes-heading" { "What changed" }
                (changes(history))
            }
            @for (at, machine) in history.machines.iter().enumerate() { (of_machine(history, at, machine)) }
            (runs(history))
            (unreadable(history))
            (method())
        }
        footer { p { "Computed by " code { "cargo xtask report --history" } " from the files " code { "report.json" } " below this folder." } }
    };
    let style = inline_style(&[STYLE, OWN_STYLE]);
    let page = document(
        "hybrid-cache: history of measurements",
        &style,
        "Skip to what changed",
        &body,
    );
    // Names and revisions come from the records, and control characters are none of HTML's.
    shown(&page.into_string()).into_owned()
}

fn header(history: &History) -> Markup {
    let ends = history.runs.first().zip(history.runs.last());
    html! {
        header {
            p class="eyebrow" { "hybrid-cache · history" }
            h1 { "Latency over time" }
            p class="lede" {
                (plural(history.runs.len(), "run")) " on " (plural(history.machines.len(), "machine"))
                @if let Some((first, last)) = ends {
                    ", from " time { (first.started_at) } " to " time { (last.started_at) }
                }
                "."
            }
            @if !history.unreadable.is_empty() {
                (notice(&html! { a href="#unreadable" { (plural(history.unreadable.len(), "report")) } " could not be read." }))
            }
            @if history.left_out > 0 {
                (notice(&html! {
                    (plural(history.left_out, "run")) " are left out: at most " (MOST_RUNS)
                    " are read, the last by the names of their folders."
                }))
            }
        }
    }
}

fn plural(count: usize, what: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{} {what}{ending}", units::count(count as u64))
}

fn changes(history: &History) -> Markup {
    let all = history.changes();
    html! {
        @if all.is_empty() { p { "No change is proven in any series." } }
        ul class="warnings" {
            @for (series, change) in all.iter().take(MOST_CHANGES) {
                li { (word(change)) " " a href=(format!("#{}", id(history, series))) { (history.sentence(series, change)) } "." }
            }
        }
        @if all.len() > MOST_CHANGES { p { "And " (all.len() - MOST_CHANGES) " more, below." } }
    }
}

fn word(change: &ChangePoint) -> Markup {
    match tone(change) {
        "t-missed" => badge(Tone::Bad, "▲", "slower"),
        "t-met" => badge(Tone::Good, "▼", "faster"),
        _ => badge(Tone::Open, "=", "within 5 %"),
    }
}

/// The id of a series on the page: its position, because names may be any text.
fn id(history: &History, series: &Series) -> String {
    let at = history.series.iter().position(|other| std::ptr::eq(other, series));
    format!("series-{}", at.unwrap_or_default())
}

fn of_machine(history: &History, at: usize, machine: &str) -> Markup {
    let own: Vec<&Series> = history.series.iter().filter(|series| series.machine == at).collect();
    html! {
        section aria-labelledby=(format!("machine-{at}")) {
            h2 id=(format!("machine-{at}")) { (machine) }
            @if own.is_empty() { p { "No sample of these runs counts, or they were measured under load." } }
            div class="cards" {
                @for series in own {
                    @let id = id(history, series);
                    div class="card series" id=(id) {
                        h3 { (series.title()) }
                        (figure(history, series, &id))
                        @if !series.changes.is_empty() {
                            ul { @for change in &series.changes { li { (word(change)) " " (history.sentence(series, change)) } } }
                        }
                    }
                }
            }
        }
    }
}

fn runs(history: &History) -> Markup {
    html! {
        section aria-labelledby="runs-heading" {
            h2 id="runs-heading" { "Runs" }
            (scrolling("Runs", &html! {
                table {
                    thead { tr {
                        th scope="col" { "Started" } th scope="col" { "Folder" } th scope="col" { "Revision" }
                        th scope="col" class="n" { "Count" } th scope="col" { "Measured on" }
                    } }
                    tbody { @for run in history.runs.iter().rev() { (row(history, run)) } }
                }
            }))
        }
    }
}

fn row(history: &History, run: &HistoryRun) -> Markup {
    html! {
        tr {
            th scope="row" {
                (run.started_at)
                @if run.completion == Completion::Interrupted { div class="why" { "interrupted" } }
            }
            td class="folder" { a href=(link(&run.folder)) { (if run.folder.is_empty() { "." } else { &run.folder }) } }
            td { code { (run.revision.chars().take(12).collect::<String>()) } @if run.dirty { div class="why" { "uncommitted changes" } } }
            td class="n" { (run.accepted) " of " (run.samples) }
            td { (history.machines[run.machine]) }
        }
    }
}

/// The report's page relative to this one, as an address: every byte that is no plain letter is written in hexadecimal.
fn link(folder: &str) -> String {
    let mut link = String::from("./");
    for byte in folder.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => link.push(char::from(byte)),
            other => link.push_str(&format!("%{other:02X}")),
        }
    }
    let slash = if folder.is_empty() { "" } else { "/" };
    format!("{link}{slash}report.html")
}

fn unreadable(history: &History) -> Markup {
    html! {
        @if !history.unreadable.is_empty() {
            section id="unreadable" aria-labelledby="unreadable-heading" {
                h2 id="unreadable-heading" { "Reports that could not be read" }
                ul class="warnings" {
                    @for one in &history.unreadable { li { code class="folder" { (one.folder) } ": " (one.why) } }
                }
            }
        }
    }
}

fn method() -> Markup {
    html! {
        section aria-labelledby="method-heading" {
            h2 id="method-heading" { "How to read this" }
            dl class="method" {
                dt { "Points" }
                dd {
                    "A point is one run: the median of a group, and the vertical line its interval (none below " (MIN_ROUNDS)
                    " rounds). Runs stand side by side in the order of their start, whatever time lies between them. Runs on other \
                    machines, through another driver or with another definition of the scenario are series of their own."
                }
                dt { "Divided by its peer" }
                dd {
                    "What was measured beside each run, such as direct exec, saw the same machine. So changes are looked for in this \
                    quotient wherever half of the runs have it, and otherwise in the time, which a change of the machine moves as well."
                }
                dt { "Changes" }
                dd {
                    "A series is split where the ranks before and after differ most, if a permutation test calls that significant, and \
                    each half again. All series of the page share an error of " (units::share(MOST_FALSE)) ". The size of a change is the \
                    Hodges-Lehmann estimate with its interval; it is somewhat too large, because the same runs chose the place. A change \
                    is a hint where to look. Only " code { "bench --against" } " proves that a revision is slower."
                }
            }
            p class="small" { "Times are end-to-end." }
        }
    }
}
