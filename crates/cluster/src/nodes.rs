//! The nodes of a kind cluster that run tasks, through their containers: the workers, or the control plane if there are none.

use futures_util::future::try_join_all;
use hybrid_cache_image::docker::Engine;
use hybrid_cache_tools::Result;

use crate::node::{self, Folder, NodeImage};

/// The nodes of a kind cluster that run tasks. The node at place k mounts the folders of set k.
#[derive(Clone, Copy)]
pub struct Nodes<'a> {
    /// The Docker engine.
    pub engine: &'a Engine,
    /// Ids of the nodes' containers; never empty.
    pub containers: &'a [String],
}

/// The ranges of pods that can reach link-local addresses through a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRanges {
    /// Id of the node's container.
    pub container: String,
    /// The ranges; empty if the node blocks all pods.
    pub ranges: Vec<String>,
}

impl Nodes<'_> {
    /// The images that every node has.
    ///
    /// # Errors
    /// A node or its container runtime is not running.
    pub async fn images(self) -> Result<Vec<NodeImage>> {
        let asked = self.containers.iter().map(|id| node::images(self.engine, id));
        Ok(on_all(try_join_all(asked).await?))
    }

    /// The folders of the first `sets` sets; `None` if a node does not mount our folder at all.
    ///
    /// # Errors
    /// A node is not running.
    pub async fn folders(self, sets: u32) -> Result<Option<Vec<Folder>>> {
        let asked = (0..sets)
            .zip(self.containers)
            .map(|(set, id)| node::folders(self.engine, id, set));
        let found: Option<Vec<_>> = try_join_all(asked).await?.into_iter().collect();
        Ok(found.map(|found| found.concat()))
    }

    /// Creates folders of the sets and makes the tasks' user the owner of them and their contents.
    ///
    /// # Errors
    /// The machine's file system does not allow this even to the node's root.
    pub async fn own_folders(self, folders: &[&Folder]) -> Result<()> {
        for (set, id) in (0..).zip(self.containers) {
            let of_set = folders.iter().filter(|folder| folder.set == set);
            let names: Vec<String> = of_set.map(|folder| folder.name.clone()).collect();
            node::own_folders(self.engine, id, &names).await?;
        }
        Ok(())
    }

    /// The ranges of pods that can reach link-local addresses, for each node.
    ///
    /// # Errors
    /// A node is not running, or was not created by kind.
    pub async fn open_ranges(self) -> Result<Vec<OpenRanges>> {
        let asked = self.containers.iter().map(|id| async move {
            let ranges = node::open_ranges(self.engine, id).await?;
            let container = id.clone();
            Ok(OpenRanges { container, ranges })
        });
        try_join_all(asked).await
    }

    /// Blocks pods from link-local addresses.
    ///
    /// # Errors
    /// A node refuses a rule.
    pub async fn close_link_local(self, open: &[OpenRanges]) -> Result<()> {
        for OpenRanges { container, ranges } in open {
            node::close_link_local(self.engine, container, ranges).await?;
        }
        Ok(())
    }

    /// Removes everything in the folders of all sets.
    ///
    /// # Errors
    /// An entry cannot be removed.
    pub async fn clear_folders(self) -> Result<()> {
        for id in self.containers {
            node::clear_folders(self.engine, id).await?;
        }
        Ok(())
    }
}

/// The images that are in every list, as the first list has them.
fn on_all(lists: Vec<Vec<NodeImage>>) -> Vec<NodeImage> {
    let mut lists = lists.into_iter();
    let mut first = lists.next().unwrap_or_default();
    for other in lists {
        first.retain(|image| {
            let same = other.iter().find(|found| found.id == image.id);
            same.is_some_and(|same| image.repo_tags.iter().all(|tag| same.repo_tags.contains(tag)))
        });
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_on_the_nodes_only_if_each_has_it_under_its_name() {
        let image = |id: &str, tag: &str| NodeImage {
            id: id.into(),
            repo_tags: vec![tag.into()],
            repo_digests: Vec::new(),
        };
        let both = [image("sha256:1", "base:1"), image("sha256:2", "base:2")];
        let other = [image("sha256:1", "base:1"), image("sha256:3", "base:2")];
        assert_eq!(on_all(vec![both.to_vec()]), both);
        assert_eq!(on_all(vec![both.to_vec(), other.to_vec()]), both[..1]);
        assert_eq!(on_all(vec![both.to_vec(), Vec::new()]), []);
        assert_eq!(on_all(Vec::new()), []);
    }
}
