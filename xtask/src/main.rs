//! The face of the project: one command for each thing a person does with hybrid-cache.
fn main() {}
