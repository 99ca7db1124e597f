//! The first page: the state of the service, a form to submit a task, and the tasks submitted last.

use axum::extract::{RawQuery, State};
use hybrid_cache_api::{CacheName, CacheView, EndName, ListQuery, Problem, StateName, TaskList, TaskSummary};
use maud::{Markup, html};

use super::draft::{self, Draft};
use super::history::Figures;
use super::layout::{self, capital};
use super::{charts, labels, units};
use crate::engine::Engine;
use crate::http::{App, Own, Rejection, list_query};
use crate::metrics::MetricsSnapshot;
use crate::store::tally::StateCounts;

/// Tasks of one page.
const ROWS: u32 = 25;

/// What the page shows.
pub struct Home {
    /// The filter and the position in the list.
    pub query: ListQuery,
    /// The tasks.
    pub page: TaskList,
    /// The number of the tenant's tasks in each state.
    pub counts: StateCounts,
    /// The service's counters.
    pub metrics: MetricsSnapshot,
    /// The charts' figures.
    pub figures: std::sync::Arc<Figures>,
    /// What was typed into the form.
    pub draft: Draft,
    /// Why it was refused.
    pub refused: Option<Problem>,
    /// The clock's time.
    pub now_us: i64,
}

impl Home {
    /// Reads everything that the page shows.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn read(app: &App, engine: &Engine, query: ListQuery) -> Result<Home, Rejection> {
        let query = ListQuery {
            limit: Some(query.limit.unwrap_or(ROWS)),
            ..query
        };
        Ok(Home {
            page: engine.list(&query).await?,
            figures: app.history().read(engine).await,
            counts: engine.counts(),
            metrics: engine.metrics(),
            now_us: engine.now_us(),
            draft: Draft::empty(),
            refused: None,
            query,
        })
    }

    /// The page.
    pub fn show(&self) -> Markup {
        let first = self.query.cursor.is_none();
        layout::document(
            "Tasks",
            layout::Here::Tasks,
            &html! {
                h1 { "Tasks" }
                (self.standing())
                (draft::details(&self.draft, self.refused.as_ref()))
                section aria-labelledby="recent" {
                    div class="heading" {
                        h2 id="recent" { @if first { "Recent" } @else { "Older" } }
                        (self.filters())
                    }
                    div id="tasks" data-part[first] data-refresh=[first.then_some("2000")] { (self.rows()) }
                }
                section aria-labelledby="day" {
                    h2 id="day" { "The last 24 hours" }
                    div id="charts" data-part[first] { (charts::charts(&self.figures)) }
                }
            },
        )
    }

    /// One figure for each state, and what is wrong.
    fn standing(&self) -> Markup {
        let metrics = &self.metrics;
        html! {
            div id="standing" data-part {
                @if !metrics.driver_up {
                    p class="notice" role="status" { strong { "The driver does not answer." } " Tasks are accepted and wait until it does." }
                }
                ul class="tiles" {
                    @for (state, count) in self.counts.by_name() {
                        li { span class="figure" { (units::count(count)) } span class=(format!("state s-{}", state.name())) { (state.name()) } }
                    }
                    li { span class="figure" { (self.counts.under_way()) " / " (metrics.concurrency) } span class="state" { "slots in use" } }
                }
            }
        }
    }

    fn filters(&self) -> Markup {
        let chosen = match self.query.states.as_slice() {
            [only] => Some(*only),
            _ => None,
        };
        html! {
            nav class="filters" aria-label="Filter by state" {
                a href=(labels::address(&[], &self.query.labels, None)) aria-current=[self.query.states.is_empty().then_some("true")] { "all" }
                @for state in StateName::ALL {
                    a href=(labels::address(&[state], &self.query.labels, None)) aria-current=[(chosen == Some(state)).then_some("true")] { (state.name()) }
                }
            }
            @if !self.query.labels.is_empty() {
                p class="labels" { "with "
                    @for (key, value) in &self.query.labels { code { (key) "=" (value) } " " }
                    a href=(labels::address(&self.query.states, &[], None)) { "show all" }
                }
            }
        }
    }

    fn rows(&self) -> Markup {
        let next = self.page.next.as_deref();
        let older = next.map(|next| labels::address(&self.query.states, &self.query.labels, Some(next)));
        html! {
            @if self.page.items.is_empty() {
                p class="empty" { "No tasks here." @if self.query.states.is_empty() { " Submit the first one above." } }
            } @else {
                table class="tasks" {
                    thead { tr {
                        th scope="col" { "Task" } th scope="col" { "State" } th scope="col" { "Submitted" }
                        th scope="col" { "Python" } th scope="col" { "System" } th scope="col" class="n" { "Took" }
                    } }
                    tbody { @for task in &self.page.items { (row(task, self.now_us)) } }
                }
            }
            @if let Some(older) = older { p { a class="button" rel="next" href=(older) { "Older tasks" } } }
        }
    }
}

/// The page.
///
/// # Errors
/// A parameter is invalid, or the store does not answer.
pub async fn home(
    State(app): State<App>,
    Own(engine): Own,
    RawQuery(query): RawQuery,
) -> Result<axum::response::Html<String>, Rejection> {
    let query = list_query(query.as_deref())?;
    let home = Home::read(&app, &engine, query).await?;
    Ok(axum::response::Html(home.show().into_string()))
}

fn row(task: &TaskSummary, now_us: i64) -> Markup {
    html! {
        tr {
            th scope="row" { a class="id" href=(format!("/tasks/{}", task.id)) { (task.id) } (labels::list(&task.labels)) }
            td data-label="State" {
                (state(task))
                @if let Some(reason) = &task.waiting_for { span class="aside" { " " (layout::foreign(first_line(reason))) } }
            }
            td data-label="Submitted" { (units::ago(&task.created_at, now_us)) }
            td data-label="Python" { (cache(task.cache, |cache| cache.python.status)) }
            td data-label="System" { (cache(task.cache, |cache| cache.system.status)) }
            td data-label="Took" class="n" { @if let Some(us) = task.total_us { (units::duration(us)) } @else { "–" } }
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn cache(cache: Option<CacheView>, pick: impl Fn(CacheView) -> CacheName) -> Markup {
    let Some(name) = cache.map(pick) else {
        return html! { "–" };
    };
    html! { span class=(format!("cache c-{}", name.name())) { (cache_word(name)) } }
}

/// A cache's result, for people.
pub fn cache_word(name: CacheName) -> &'static str {
    match name {
        CacheName::Hit => "hit",
        CacheName::Built => "filled",
        CacheName::Bypassed => "bypassed",
        CacheName::NotAsked => "not asked",
        CacheName::Unknown => "unknown",
    }
}

/// A task's state as a badge, with its result if it has ended.
pub fn state(task: &TaskSummary) -> Markup {
    let (class, word) = match (task.state, task.end, task.exit_code) {
        (StateName::Ended, Some(EndName::Exited), Some(0)) => ("good", "succeeded".to_owned()),
        (StateName::Ended, Some(EndName::Exited), Some(code)) => ("bad", format!("exit code {code}")),
        (StateName::Ended, Some(EndName::TimedOut), _) => ("bad", "timed out".to_owned()),
        (StateName::Ended, Some(EndName::Signaled), _) => ("bad", "killed".to_owned()),
        (StateName::Ended, Some(EndName::Failed), _) => ("bad", "failed".to_owned()),
        (StateName::Cancelled, ..) => ("off", "cancelled".to_owned()),
        (StateName::Running, ..) if task.cancel_requested => ("running", "ending".to_owned()),
        (state, ..) => (state.name(), state.name().to_owned()),
    };
    html! { span class=(format!("badge b-{class}")) { (word) } }
}

/// A task's failure.
pub fn failure(message: &str, hint: Option<&str>) -> Markup {
    html! {
        div class="notice bad" role="status" {
            p { strong { (capital(&layout::foreign(message))) } }
            @if let Some(hint) = hint { p { (layout::prose(&capital(hint))) } }
        }
    }
}
