//! Attacks on the task service: who has access, what it keeps, and what a page of another site can make it do.

use std::sync::Arc;

use hybrid_cache_driver::Driver;
use hybrid_cache_model::{Protection, TaskSpec};
use hybrid_cache_service::host;
use hybrid_cache_service::http::{Access, Tokens};
use serde_json::json;

use crate::attack::{Attack, AttackMethod};
use crate::attack_context::{AttackContext, program};
use crate::error::TrialError;
use crate::service::TrialService;
use crate::site::LOCAL;
use crate::verdict::Verdict;
use crate::volume;

/// A token for trials; it is valid only for services that live for a few seconds.
pub(super) const TOKEN: &str = "trial-0123456789abcdef0123456789abcdef";

const ASK: &str = include_str!("../probes/service.py");

pub const ATTACKS: &[Attack] = &[
    Attack {
        id: "task-uses-the-service",
        promise: Protection::TokenRequired,
        tries: "A task lists and submits tasks at the service that runs it, at every address of this machine.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(task_uses_service(ground))),
    },
    Attack {
        id: "page-of-another-site",
        promise: Protection::SameOrigin,
        tries: "A page of another site posts a task, and the name of another site is made to lead to this machine.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(another_site(ground))),
    },
    Attack {
        id: "token-file-open-to-others",
        promise: Protection::TokenFileMode,
        tries: "The operator's token file can be read by every user of the machine, or written by its group.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(open_token_file(ground))),
    },
    Attack {
        id: "other-users-read-the-service",
        promise: Protection::PrivateFiles,
        tries: "Another user of the machine reads the service's database and what tasks printed.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(read_by_others(ground))),
    },
];

async fn task_uses_service(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let mut found = Vec::new();
    let empty = ground.local_caches(&[]).await?;
    for network in ["isolated", "shared"] {
        let caches = empty.with(&json!({"network": network}))?;
        // `serve` without a token refuses to start if this is false.
        if !caches.driver.network().await.allows_service_without_token() {
            continue;
        }
        let driver = Arc::clone(&caches.driver) as Arc<dyn Driver>;
        let folder = caches.folder.join(format!("service-{network}"));
        let service = TrialService::start(driver, &folder, Access::Local).await?;
        let known = json!({"port": service.address.port(), "hosts": ["127.0.0.1", "localhost", "127.9.9.9"]});
        let ran = caches.caches.run(&TaskSpec::new(program(&known, ASK))).await;
        service.stop().await?;
        found.extend(ran?.findings("asks the service")?.got);
    }
    Ok(Verdict::held_if_none(&found))
}

async fn open_token_file(ground: &AttackContext) -> Result<Verdict, TrialError> {
    use std::os::unix::fs::PermissionsExt;
    let folder = ground.local_caches(&[]).await?.folder;
    let path = folder.join("token");
    std::fs::write(&path, TOKEN).map_err(TrialError::io("writing a token file"))?;
    let mut found = Vec::new();
    let open = std::net::SocketAddr::from(([127, 0, 0, 1], 8000));
    let accepted = |mode: u32| {
        let set = std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode));
        set.map_err(TrialError::io("changing a token file"))?;
        Ok::<_, TrialError>(host::access(open, Some(&path)).is_ok())
    };
    if !accepted(0o600)? {
        return Err(TrialError::Other("a token file of mode 0600 is refused".to_owned()));
    }
    for mode in [0o644, 0o604, 0o660, 0o666] {
        if accepted(mode)? {
            found.push(format!("a token file of mode {mode:04o} is accepted"));
        }
    }
    Ok(Verdict::held_if_none(&found))
}

async fn read_by_others(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let caches = ground.local_caches(&[]).await?;
    let unfit = |_| TrialError::Other("the token of the trial is refused".to_owned());
    let tokens = Tokens::read(TOKEN).map_err(unfit)?;
    let (driver, folder) = (
        Arc::clone(&caches.driver) as Arc<dyn Driver>,
        caches.folder.join("service"),
    );
    let service = TrialService::start(driver, &folder, Access::Tokens(tokens)).await?;
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("Authorization", bearer.as_str())];
    let ran = async {
        let id = service.submit(&headers, "print('secret')").await?;
        service.ended(&headers, &id).await
    };
    let ran = ran.await;
    let open = volume::open_to_others(&folder);
    service.stop().await?;
    ran?;
    let open: Vec<String> = open
        .iter()
        .map(|path| format!("{} is open to others", path.display()))
        .collect();
    Ok(Verdict::held_if_none(&open))
}

async fn another_site(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let caches = ground.local_caches(&[]).await?;
    let driver = Arc::clone(&caches.driver) as Arc<dyn Driver>;
    let service = TrialService::start(driver, &caches.folder.join("service"), Access::Local).await?;
    let tried: [&[(&str, &str)]; 6] = [
        &[("Origin", "http://evil.example")],
        &[("Origin", "null")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Host", "evil.example:8000")],
        &[("Host", "localhost.evil.example")],
        &[
            ("Host", "127.0.0.1.evil.example"),
            ("Origin", "http://127.0.0.1.evil.example"),
        ],
    ];
    let ask = async {
        let mut found = Vec::new();
        for headers in tried {
            let body = json!({"pythonCode": "print(1)"}).to_string();
            let answer = service.ask("POST", "/api/v1/tasks/submit", headers, &body).await?;
            if answer.is_good() {
                found.push(format!("a request with {headers:?} is answered with {}", answer.status));
            }
        }
        Ok::<_, TrialError>(found)
    };
    let found = ask.await;
    service.stop().await?;
    Ok(Verdict::held_if_none(&found?))
}
