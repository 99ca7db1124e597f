//! The images of hybrid-cache: what tasks run in, and the task service. An image is built once for each content, and the same
//! content has the same id.

mod archive;
mod base;
mod build;
mod build_records;
mod contents;
mod context;
mod pythons;
mod recipe;
mod reference;
mod reproducible;
mod seed;
pub mod service;

pub use base::Base;
pub use build::{BuildOptions, Rebuild, ensure};
pub use build_records::Built;
pub use recipe::REPOSITORY;
pub use reference::{OVERRIDE, overridden, push, reference};
pub use seed::{Seed, ensure_seeded};
