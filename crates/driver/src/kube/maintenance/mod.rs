//! Jobs that look after the volumes: folders of tenants and epochs, what the caches hold, and what crashed drivers left.

pub mod contents;
pub mod epochs;
pub mod job;
pub mod merge;
pub mod on_sets;
pub mod sweep;
pub mod tenant_folders;
pub mod tenants;
