//! What the double of a cluster answers, and what it reads of a Job.

use serde_json::{Value, json};

/// A code and a body.
pub type Answer = (u16, Value);

/// The claims that a Job's pod mounts.
pub fn claims_of(job: &Value) -> Vec<String> {
    let volumes = job["spec"]["template"]["spec"]["volumes"]
        .as_array()
        .into_iter()
        .flatten();
    let claims = volumes.filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str());
    claims.map(str::to_owned).collect()
}

/// A refusal.
pub fn status(code: u16, reason: &str, message: &str) -> Answer {
    let status = json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message});
    (code, status)
}
