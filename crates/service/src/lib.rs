//! The task service: what users submit is kept before it is run, run once, and told about while it runs.
