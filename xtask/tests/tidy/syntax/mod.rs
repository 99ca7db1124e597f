//! A crate as files, modules and names, read with `syn`: enough to say which file uses an item of which other file.

pub(crate) mod findings;
pub(crate) mod graph;
pub(crate) mod lines;
pub(crate) mod resolve;
pub(crate) mod source;
pub(crate) mod types;
pub(crate) mod uses;
