//! The pages for people. The server renders them whole; they work without a script, and a small script keeps them up to
//! date.

mod charts;
mod draft;
mod fields;
mod form;
pub mod history;
mod home;
mod labels;
pub mod layout;
mod login;
mod more_fields;
mod problem;
mod routes;
mod task;
mod units;
mod waterfall;

pub use problem::problem_page;
pub use routes::routes;
