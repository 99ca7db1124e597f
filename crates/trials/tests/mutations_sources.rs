//! The protections of builds and of the operator's settings are taken out one after the other, and an attack must notice each time.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

mod machine;
mod mutant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attack_notices_each_protection_of_sources_that_is_taken_out() {
    let test = "an_attack_notices_each_protection_of_sources_that_is_taken_out";
    mutant::each_is_noticed(test, &mutant::SOURCES).await;
}
