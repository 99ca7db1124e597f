//! The runner's command line.
fn main() {}
