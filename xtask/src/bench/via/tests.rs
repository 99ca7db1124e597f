//! The client against a server that answers what a test says.
