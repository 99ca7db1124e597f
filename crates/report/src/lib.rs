//! hybrid-cache report
