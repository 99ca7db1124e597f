//! A service to try by hand: with a browser, or with a program that tries everything in the OpenAPI document. Its tasks
//! do what the scripted driver does. `STAND_SECONDS=600 cargo test -p hybrid-cache-service --test http -- --ignored
//! --nocapture stand`.

use std::time::Duration;

use super::place;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "serves until its time is over; see the top of its file"]
async fn stand() {
    let seconds = std::env::var("STAND_SECONDS").map_or(60, |text| text.parse().unwrap());
    // A program that tries everything follows tasks that never end, and does not disconnect by itself.
    let place = place::start_with(|_| {}, |http| http.follow_timeout = Duration::from_secs(1)).await;
    for number in 0..6 {
        let id = place
            .started(&format!(
                "print this is task {number}\nerr and this its error\nexit {}",
                number % 2
            ))
            .await;
        place.until(&id, "ended").await;
    }
    let held = place.started("print working\nsleep 600000").await;
    place.until(&held, "running").await;
    place.saved("import numpy\nprint(numpy.__version__)").await;
    println!("listening on http://{}", place.address);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    place.post(&format!("/api/v1/tasks/{held}/cancel")).await;
    place.end().await;
}
