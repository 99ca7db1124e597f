//! Many requests at once.

use tokio::task::JoinSet;

use super::place;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_submits_at_once_are_stored_or_told_to_wait() {
    let place = place::start().await;
    let address = place.address;
    let mut clients = JoinSet::new();
    for number in 0..1000 {
        clients.spawn(async move {
            let body = serde_json::json!({"pythonCode": format!("print {number}")}).to_string();
            place::send(
                address,
                "POST",
                "/api/v1/tasks/submit",
                &[("content-type", "application/json")],
                body,
            )
            .await
        });
    }
    let mut ids = Vec::new();
    while let Some(answer) = clients.join_next().await {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        ids.push(answer.json()["id"].as_str().unwrap().to_owned());
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 1000);
    let saved: u64 = place.engine.metrics().tasks.iter().map(|(_, count)| count).sum();
    assert_eq!(saved, 1000);
    place.end().await;
}
