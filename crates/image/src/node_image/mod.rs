//! A kind node image made from package registries alone, for machines without a container registry.

mod archive;
mod build;
mod build_dir;
mod command;
mod compile;
mod context;
mod engine;
mod identity;
mod node;
mod node_images;
mod pins;
mod prerequisites;
mod rootfs;
#[cfg(test)]
mod tests;

pub use build::{NodeImage, Programs, archive_path, build, image_tag, programs};
pub use context::Made;
