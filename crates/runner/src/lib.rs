//! hybrid-cache runner
