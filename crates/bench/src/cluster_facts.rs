//! Describes the cluster that was measured, for the report: from its API server, and from Docker if this machine has it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use hybrid_cache_cluster::facts::{ClaimFacts, NodeFacts};
use hybrid_cache_cluster::rollout::Rollout;
use hybrid_cache_cluster::{ClusterBackend, ClusterChoice, argo, node};
use hybrid_cache_image::docker::Engine;
use hybrid_cache_model::pod::{IMAGE_FILE, ImageRecord};
use hybrid_cache_model::protocol::Provider;
use hybrid_cache_model::sample::{ClusterRecord, Provenance};
use hybrid_cache_tools::{ErrorContext, Result};

/// Value of a fact that only the image has, if the image is not on this machine.
const OF_THE_IMAGE: &str = "as in the image";
/// Largest record in an image, in bytes.
const MAX_RECORD_BYTES: u64 = 1 << 20;

/// Completes the provenance of a bench run on a cluster.
///
/// # Errors
/// The cluster does not answer.
pub async fn describe(on: &ClusterBackend, which: &ClusterChoice, client: Provenance) -> Result<Provenance> {
    let (api, config) = (&on.connection.api, &on.connection.config);
    let nodes = api.nodes().await?;
    let claims: Vec<ClaimFacts> = api.claims(&config.namespace).await?;
    let ours = |claim: &&ClaimFacts| [&config.python_claim, &config.nix_claim].contains(&&claim.name);
    let of_claims = |fact: fn(&ClaimFacts) -> String| -> BTreeMap<String, String> {
        let ours = claims.iter().filter(ours);
        ours.map(|claim| (claim.name.clone(), fact(claim))).collect()
    };
    let each = |fact: fn(&NodeFacts) -> &str| -> Vec<String> {
        let distinct: BTreeSet<&str> = nodes.iter().map(fact).collect();
        distinct.into_iter().map(str::to_owned).collect()
    };
    let seen = EngineImages::find(&config.image, which).await;
    let record = seen.record.as_ref();
    let system = record.and_then(|record| record.system.as_ref());
    let provider = system.map(|system| match system.tools.provider {
        Provider::Nix { .. } => "nix",
        Provider::NixPortable { .. } => "nix-portable",
    });
    let known = |fact: Option<&str>| fact.unwrap_or(OF_THE_IMAGE).to_owned();
    Ok(Provenance {
        file_systems: of_claims(|claim| {
            let size = claim.capacity.as_ref().unwrap_or(&claim.requested);
            format!("PersistentVolume of {size}")
        }),
        interpreter: known(record.map(|record| record.interpreter.version.as_str())),
        index: config.network.sources.with_index(&config.network.index),
        system_provider: known(provider),
        system_source: known(system.map(|system| system.source_id.as_str())),
        cluster: Some(ClusterRecord {
            context: which.context.clone().unwrap_or_else(|| format!("kind-{}", which.name)),
            kubernetes: api.version().await?,
            nodes: u32::try_from(nodes.iter().filter(|node| node.ready).count()).unwrap_or(u32::MAX),
            kubelets: each(|node| &node.version),
            container_runtimes: each(|node| &node.runtime),
            node_image: seen.node_image,
            storage_classes: of_claims(|claim| {
                let class = claim.storage_class.as_deref().filter(|class| !class.is_empty());
                class.unwrap_or("none").to_owned()
            }),
            image: config.image.clone(),
            image_id: seen.image_id,
            standby: config.standby.map(|range| range.to_string()),
        }),
        notes: match config.argo {
            Some(_) => vec![argo_note(&argo::CONTROLLER.rollout(api).await?)],
            None => Vec::new(),
        },
        ..client
    })
}

fn argo_note(controller: &Rollout) -> String {
    let controller = match controller {
        Rollout::Ready(image) => format!("its controller is {image}"),
        Rollout::Absent | Rollout::Waiting(_) => "`up --with-argo` did not install its controller".to_owned(),
    };
    format!("each task is a Workflow of Argo; {controller}")
}

/// Images that Docker on this machine knows; a measurement does not need them.
#[derive(Default)]
struct EngineImages {
    node_image: Option<String>,
    image_id: Option<String>,
    record: Option<ImageRecord>,
}

impl EngineImages {
    async fn find(image: &str, which: &ClusterChoice) -> EngineImages {
        let Ok(engine) = Engine::connect().await else {
            return EngineImages::default();
        };
        let nodes = match &which.context {
            Some(_) => Vec::new(),
            None => node::containers(&engine, &which.name).await.unwrap_or_default(),
        };
        let stored = engine.image(image).await.ok().flatten();
        let record = match &stored {
            Some(_) => image_record(&engine, image).await.ok(),
            None => None,
        };
        EngineImages {
            node_image: nodes.first().map(|node| node.image.clone()),
            image_id: stored.map(|stored| stored.id),
            record,
        }
    }
}

async fn image_record(engine: &Engine, image: &str) -> Result<ImageRecord> {
    let archive = engine.copy_out(image, IMAGE_FILE).await?;
    record_in(&archive)
}

/// Reads the record from a tar archive that holds nothing else.
fn record_in(archive: &[u8]) -> Result<ImageRecord> {
    let mut archive = tar::Archive::new(archive);
    let file = archive.entries()?.next().context("an empty archive")??;
    let mut text = Vec::new();
    file.take(MAX_RECORD_BYTES).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_archive_holds_is_read_and_anything_else_refused() {
        let text = serde_json::json!({
            "protocol": 1,
            "interpreter": {
                "path": "/usr/bin/python3", "implementation": "cpython", "version": "3.11.2", "abi": "cpython-311",
                "platform": "linux-x86_64", "binary_hash": "0"
            },
            "uv": "/usr/bin/uv",
            "base_path": "/usr/bin",
            "identity": { "uid": 10001, "gid": 10001 }
        })
        .to_string();
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_data(&mut header, "image.json", text.as_bytes()).unwrap();
        let record = record_in(&builder.into_inner().unwrap()).unwrap();
        assert_eq!((record.interpreter.version.as_str(), record.system), ("3.11.2", None));
        assert!(record_in(&[]).is_err());
    }
}
