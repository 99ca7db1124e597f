//! hybrid-cache driver
