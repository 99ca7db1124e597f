//! Attacks between tenants that share a pair of volumes and a service.

use std::net::SocketAddr;
use std::sync::Arc;

use hybrid_cache_driver::Driver;
use hybrid_cache_model::{CacheStatus, Protection};
use hybrid_cache_service::host;
use serde_json::json;

use super::service::TOKEN;
use crate::attack::{Attack, AttackMethod};
use crate::attack_context::{AttackContext, program, with_six};
use crate::error::TrialError;
use crate::service::TrialService;
use crate::site::{ANYWHERE, LOCAL, Need, Site};
use crate::verdict::Verdict;
use crate::volume;
use crate::wheel::Wheel;

pub const ATTACKS: &[Attack] = &[
    Attack {
        id: "use-another-tenants-environment",
        promise: Protection::TenantRoots,
        tries: "A tenant asks for what another tenant's task has just prepared, and looks for its files.",
        sites: ANYWHERE,
        needs: &[Need::Tenants],
        layers: &[Protection::Landlock],
        method: AttackMethod::Steps(|ground| Box::pin(use_anothers(ground))),
    },
    Attack {
        id: "see-another-tenants-tasks",
        promise: Protection::TenantTasks,
        tries: "A tenant lists, reads, follows, cancels and deletes another tenant's tasks at the service.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(see_tasks(ground))),
    },
    Attack {
        id: "share-a-private-package",
        promise: Protection::PrivateIndex,
        tries: "A package of a private index is looked for in what all tenants share.",
        sites: LOCAL,
        needs: &[Need::Tenants],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(share_private(ground))),
    },
];

async fn use_anothers(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let caches = match ground.site() {
        Site::Local => {
            let wheels = [Wheel::module("six", "1.0", "MARK = 'genuine'\n")];
            ground.local_caches(&wheels).await?.caches
        }
        Site::Pod => ground.fresh().await?,
    };
    let spec = with_six("import six\nprint(six.__file__)");
    let mut paths = Vec::new();
    for _ in 0..2 {
        let ran = caches
            .run_with(&spec, &json!({"tenant": "one"}))
            .await?
            .good("runs as tenant one")?;
        // The second run uses the published environment; the first run's file is in staging.
        paths = vec![ran.stdout.trim().to_owned()];
    }
    let known = json!({"paths": paths, "folders": ["/cache/python/tenants/one", "/cache/python/tenants/one/envs"]});
    let looking = with_six(&program(&known, include_str!("../probes/read_others.py")));
    let ran = caches.run_with(&looking, &json!({"tenant": "two"})).await?;
    let mut found = ran.findings("looks for another tenant's files")?.got;
    if ran.outcome.cache.python == CacheStatus::Hit {
        found.insert(
            0,
            "the first task of tenant two hit the environment of tenant one".to_owned(),
        );
    }
    Ok(Verdict::held_if_none(&found))
}

async fn see_tasks(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let caches = ground.local_caches(&[]).await?;
    let path = caches.folder.join("tokens");
    let (one, two) = (format!("{TOKEN}-one"), format!("{TOKEN}-two"));
    write_private(&path, &format!("one {one}\ntwo {two}\n"))?;
    let access = match host::access(SocketAddr::from(([127, 0, 0, 1], 8000)), Some(&path)) {
        Ok(access) => access,
        Err(error) => {
            return Ok(Verdict::not_held(format!(
                "a token for each tenant is refused: {error}"
            )));
        }
    };
    let driver = Arc::clone(&caches.driver) as Arc<dyn Driver>;
    let service = TrialService::start(driver, &caches.folder.join("service"), access).await?;
    let found = spy(&service, &format!("Bearer {one}"), &format!("Bearer {two}")).await;
    service.stop().await?;
    Ok(Verdict::held_if_none(&found?))
}

/// What the second client can learn about the first client's task, or do to it.
async fn spy(service: &TrialService, one: &str, two: &str) -> Result<Vec<String>, TrialError> {
    const SECRET: &str = "secret-of-tenant-one";
    let (owner, spy) = ([("Authorization", one)], [("Authorization", two)]);
    let id = service
        .submit(
            &owner,
            &format!("import time\nprint('{SECRET}', flush=True)\ntime.sleep(3)"),
        )
        .await?;
    let mut found = Vec::new();
    let encoded = id.replace('-', "%2D");
    let reads = [
        format!("/api/v1/tasks/{id}"),
        format!("/api/v1/tasks/{encoded}"),
        format!("/api/v1/tasks/{id}/logs"),
        format!("/tasks/{id}"),
        format!("/tasks/{id}/logs"),
        format!("/api/v1/tasks/./{id}"),
    ];
    for path in &reads {
        let answer = service.ask("GET", path, &spy, "").await?;
        if answer.is_good() {
            found.push(format!("GET {path} answers {}", answer.status));
        }
    }
    let forged = [("Authorization", two), ("X-Tenant", "one"), ("X-Forwarded-User", "one")];
    for path in ["/api/v1/tasks", "/api/v1/tasks?tenant=one", "/tasks", "/"] {
        let answer = service.ask("GET", path, &forged, "").await?;
        if answer.body.contains(&id) || answer.body.contains(SECRET) {
            found.push(format!("GET {path} names the other tenant's task"));
        }
    }
    for (method, action) in [("POST", "/cancel"), ("POST", "/run"), ("DELETE", "")] {
        let path = format!("/api/v1/tasks/{id}{action}");
        let answer = service.ask(method, &path, &spy, "").await?;
        if answer.is_good() {
            found.push(format!("{method} {path} answers {}", answer.status));
        }
    }
    if !found.is_empty() {
        // The folder may no longer exist.
        return Ok(found);
    }
    let view = service.ended(&owner, &id).await?;
    if view["state"] != "ended" {
        found.push(format!("the other tenant's task ended as {}", view["state"]));
    }
    Ok(found)
}

/// Writes a file that only its owner can read.
pub(super) fn write_private(path: &std::path::Path, text: &str) -> Result<(), TrialError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let failed = || TrialError::io(format!("writing {}", path.display()));
    let opened = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    opened.map_err(failed())?.write_all(text.as_bytes()).map_err(failed())
}

async fn share_private(ground: &AttackContext) -> Result<Verdict, TrialError> {
    const SECRET: &str = "secret-of-a-private-package";
    let text = format!("MARK = '{SECRET}'\n");
    let caches = ground.local_caches(&[Wheel::module("six", "1.0", &text)]).await?;
    let caches = caches.with(&json!({"index_scope": "private", "private_index": true}))?;
    let options = json!({"tenant": "one"});
    for _ in 0..2 {
        caches
            .caches
            .run_with(&with_six("import six"), &options)
            .await?
            .good("uses a private package")?;
    }
    let python = &caches.volumes.python;
    let kept = volume::find(python, |path| volume::holds(path, SECRET));
    let shared = kept.iter().filter_map(|path| path.strip_prefix(python).ok());
    let shared = shared.filter(|path| !path.starts_with("tenants/one"));
    let found: Vec<String> = shared
        .map(|path| format!("all tenants share {}", path.display()))
        .collect();
    if kept.is_empty() {
        return Err(TrialError::Other(
            "the private package is nowhere on the volume".to_owned(),
        ));
    }
    Ok(Verdict::held_if_none(&found))
}
