//! Builds images with Docker: the one that tasks run in, the one of the task service, and a kind node image for machines that
//! reach no container registry.

pub mod docker;
mod docker_archive;
pub mod node_image;
pub mod task_image;
#[cfg(test)]
mod tests {
    use std::path::Path;

    use hybrid_cache_tools::Checkout;

    /// The checkout that these tests belong to.
    pub fn checkout() -> Checkout {
        Checkout::open(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))).unwrap()
    }
}
