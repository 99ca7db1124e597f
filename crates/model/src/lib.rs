//! hybrid-cache model
