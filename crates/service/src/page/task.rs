//! The page of one task: its state, where its time went, its output, and its request.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Html;
use bytes::Bytes;
use hybrid_cache_api::{CacheStatusView, EndName, StateName, TaskView};
use hybrid_cache_model::outcome::signal_name;
use maud::{Markup, html};

use super::layout::{self, capital};
use super::waterfall::waterfall;
use super::{home, labels, units};
use crate::http::{App, Own, Params, Rejection, id_in};

/// The page.
///
/// # Errors
/// There is no such task, or the store does not answer.
pub async fn task(State(app): State<App>, Own(engine): Own, params: Params) -> Result<Html<Bytes>, Rejection> {
    let id = id_in(params)?;
    let make = || async {
        let view = engine.get(&id).await?;
        Ok(Bytes::from(show(&view, engine.now_us()).into_string()))
    };
    Ok(Html(app.memory().answer(make).await?))
}

fn show(view: &TaskView, now_us: i64) -> Markup {
    let task = &view.summary;
    let under_way = matches!(task.state, StateName::Queued | StateName::Running);
    // Without a script, the page reloads itself.
    let again = html! { @if under_way { noscript { meta http-equiv="refresh" content="3"; } } };
    let title = format!("{} {}", task.state.name(), task.id);
    layout::page(
        &title,
        layout::Here::Elsewhere,
        &again,
        &html! {
            p class="eyebrow" { a href="/" { "Tasks" } }
            div id="head" data-part data-refresh=[under_way.then_some("1000")] {
                h1 class="id" { (task.id) }
                (standing(view, now_us))
                (buttons(view))
            }
            section aria-labelledby="output" {
                div class="heading" {
                    h2 id="output" { "Output" }
                    (sizes(view))
                }
                (output(view, under_way))
            }
            div id="after" data-part {
                @if let Some(timeline) = &view.timeline {
                    section aria-labelledby="time" {
                        h2 id="time" { "Where the time went" }
                        p class="lede" {
                            strong { (units::duration(timeline.total_us)) } " until the result"
                            @if let Some(inside) = view.runner_us { ", " (units::duration(inside)) " of it in the runner" }
                            "."
                        }
                        (waterfall(timeline))
                    }
                }
                (resolved(view))
            }
            (request(view))
        },
    )
}

fn signal_text(signal: i32) -> String {
    match signal_name(signal) {
        Some(name) => format!("{name} (signal {signal})"),
        None => format!("signal {signal}"),
    }
}

fn standing(view: &TaskView, now_us: i64) -> Markup {
    let task = &view.summary;
    let moment = |name: &str, at: &Option<String>| {
        html! { @if let Some(at) = at { div { dt { (name) } dd { (units::ago(at, now_us)) } } } }
    };
    html! {
        p { (home::state(task))
            @if let Some(signal) = view.signal { " by " (signal_text(signal)) }
            @if let Some(limit) = view.limit_ms { " after " (units::duration(limit.saturating_mul(1000))) }
            @if let Some(reason) = &task.waiting_for { span class="aside" { " waiting: " (layout::foreign(reason)) } }
        }
        @if let Some(failure) = &view.failure { (home::failure(&failure.message, failure.hint.as_deref())) }
        @if let Some(failure) = &view.not_kept {
            (home::failure(&format!("not stored in the caches: {}", failure.message), failure.hint.as_deref()))
        }
        @for warning in &view.warnings { p class="notice" { (capital(&layout::foreign(warning))) } }
        dl class="facts" {
            (moment("Submitted", &Some(task.created_at.clone())))
            (moment("Queued", &task.queued_at))
            (moment("Started", &task.started_at))
            (moment("Ended", &task.ended_at))
            @if task.end == Some(EndName::Exited) { @if let Some(code) = task.exit_code { div { dt { "Exit code" } dd { (code) } } } }
            @if let Some(cache) = task.cache {
                div { dt { "Python cache" } dd { (cache_told(cache.python)) } }
                div { dt { "System cache" } dd { (cache_told(cache.system)) } }
            }
        }
    }
}

fn cache_told(status: CacheStatusView) -> Markup {
    html! {
        span class=(format!("cache c-{}", status.status.name())) { (home::cache_word(status.status)) }
        @if let Some(fetched) = status.downloaded_bytes {
            span class="aside" { " " (units::bytes(fetched)) " fetched, " (units::bytes(status.reused_bytes.unwrap_or(0))) " reused" }
        }
    }
}

fn buttons(view: &TaskView) -> Markup {
    let task = &view.summary;
    let button = |action: &str, name: &str, class: &str| {
        html! { form method="post" action=(format!("/tasks/{}/{action}", task.id)) { button type="submit" class=(class) { (name) } } }
    };
    html! {
        div class="buttons" {
            @if task.state == StateName::Saved { (button("run", "Run", "main")) }
            @if !task.state.is_final() && !task.cancel_requested { (button("cancel", "Cancel", "")) }
            @if task.state.is_final() || task.state == StateName::Saved { (button("delete", "Delete", "danger")) }
        }
    }
}

fn sizes(view: &TaskView) -> Markup {
    let output = &view.output;
    html! {
        p class="muted" {
            a href=(format!("/api/v1/tasks/{}/logs", view.summary.id)) { "full output" }
            @if output.stdout_bytes + output.stderr_bytes > 0 { " · " (units::bytes(output.stdout_bytes + output.stderr_bytes)) }
        }
    }
}

fn output(view: &TaskView, under_way: bool) -> Markup {
    let (task, output) = (&view.summary, &view.output);
    let live = format!("/api/v1/tasks/{}/logs?follow=true", task.id);
    let empty = output.stdout.is_empty() && output.stderr.is_empty();
    html! {
        pre class="output" id="log" tabindex="0" role="region" aria-labelledby="output" data-follow=[under_way.then_some(&live)] {
            @if empty { span class="none" { @if under_way { "Nothing yet." } @else { "Nothing was printed." } } }
            (layout::foreign(&output.stdout))
            @if !output.stdout.is_empty() && !output.stdout.ends_with('\n') && !output.stderr.is_empty() { "\n" }
            @if !output.stderr.is_empty() { span class="stderr" { (layout::foreign(&output.stderr)) } }
        }
        @if output.truncated && !under_way { p class="muted" { "Of a long stream only the beginning and the end are shown; open the full output for the rest." } }
    }
}

fn resolved(view: &TaskView) -> Markup {
    let Some(resolved) = &view.resolved else {
        return html! {};
    };
    let list = |name: &str, of: &[String]| {
        html! {
            @if !of.is_empty() {
                details class="card" {
                    summary { (name) " (" (of.len()) ")" }
                    ul class="packages" { @for one in of { li { code { (layout::foreign(one)) } } } }
                }
            }
        }
    };
    html! {
        (list("Python packages in use", &resolved.python))
        @if !resolved.python.is_empty() {
            p class="muted" {
                a href=(format!("/api/v1/tasks/{}/lock", view.summary.id)) download="requirements.txt" { "lock" }
                " · these packages with hashes, as a requirements file"
                @if let Some(version) = &resolved.python_version { " for Python " (layout::foreign(version)) }
            }
        }
        (list("System packages in use", &resolved.system))
    }
}

fn request(view: &TaskView) -> Markup {
    let spec = &view.request;
    let field = |name: &str, text: &str| {
        html! { @if !text.trim().is_empty() { div { dt { (name) } dd { (layout::foreign(text)) } } } }
    };
    html! {
        section aria-labelledby="request" {
            h2 id="request" { "Program" }
            pre class="code" tabindex="0" role="region" aria-labelledby="request" { (layout::foreign(&spec.python_code)) }
            dl class="facts" {
                (field("Python packages", &spec.dependencies))
                (field("Requirements file", &spec.requirements_file))
                (field("Constraints", &spec.constraints))
                (field("Python version", &spec.python_version))
                (field("System tools", &spec.system_dependencies))
                @if !spec.use_cache { div { dt { "Caches" } dd { "bypassed" } } }
                @if let Some(seconds) = spec.timeout_seconds { div { dt { "Time limit" } dd { (seconds) " s" } } }
                (field("Resources", &spec.resources.shown()))
                (field("Arguments", &spec.args.join("\n")))
                (field("Variables", &pairs(&spec.env)))
                (field("Secret variables", &spec.secret_env.names().collect::<Vec<_>>().join("\n")))
                (field("Standard input", &spec.stdin))
            }
            (labels::list(&spec.labels))
        }
    }
}

fn pairs(of: &BTreeMap<String, String>) -> String {
    let lines: Vec<_> = of.iter().map(|(name, value)| format!("{name}={value}")).collect();
    lines.join("\n")
}
