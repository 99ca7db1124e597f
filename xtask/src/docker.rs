//! The Docker engine, through bollard; the only file that knows it.
