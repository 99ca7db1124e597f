//! The page that shows an error.

use hybrid_cache_api::Problem;
use maud::{Markup, html};

use super::layout::{self, capital};

/// An error as a person sees it.
pub fn problem_page(problem: &Problem) -> Markup {
    layout::document(
        &problem.title,
        layout::Here::Elsewhere,
        &html! {
            p class="eyebrow" { (problem.status) }
            h1 { (problem.title) }
            p class="lede" { (capital(&layout::foreign(&problem.detail))) "." }
            @if let Some(hint) = &problem.hint { p { (capital(&layout::foreign(hint))) "." } }
            p { (layout::prose(problem.code.advice())) }
            p { a class="button" href="/" { "To the tasks" } }
        },
    )
}
