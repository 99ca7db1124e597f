//! Durable submits against raw inserts.
fn main() {}
