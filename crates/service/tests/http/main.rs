//! The HTTP side over real connections, with a scripted driver.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod access;
mod client;
mod curl;
mod exposition;
mod fields;
mod flows;
mod followers;
mod inputs;
mod load;
mod openapi;
mod pages;
mod patience;
mod place;
#[path = "../service/scripted.rs"]
#[expect(dead_code, reason = "what only the engine's own tests ask")]
mod scripted;
mod soak;
mod stand;
mod tenants;
