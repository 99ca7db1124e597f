//! What people see first of a run or a comparison, as Markdown for a job's summary or a comment: the gate's answer, why, a table,
//! and folded details. It has at most [`MOST_LINES`] lines, and text from a record cannot become markup.

mod answer;
mod levels;
mod load;
mod run;
mod runs;
mod text;

pub use run::run_digest;
pub use runs::comparison_digest;

/// Lines of a digest at most, however much was measured.
pub const MOST_LINES: usize = 60;
