//! The Docker engine. Only `engine.rs` and `container.rs` know the library that talks to it.

mod container;
mod credentials;
mod endpoint;
mod engine;
mod engine_error;
mod stream;
#[cfg(test)]
mod tests;
mod types;

pub use endpoint::{Endpoint, Settings};
pub use engine::Engine;
pub use engine_error::EngineError;
pub use types::{Build, BuildCache, Container, EngineInfo, Executed, Listener, OneShotContainer, StoredImage};
