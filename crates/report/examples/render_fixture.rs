//! Renders the synthetic run of the tests into a folder, to look at it: `cargo run -p hybrid-cache-report --example
//! render_fixture -- DIR`.

#[path = "../tests/fixture/mod.rs"]
mod fixture;

fn main() -> Result<(), hybrid_cache_report::FolderError> {
    let dir = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "target/report-fixture".to_owned());
    hybrid_cache_report::write_run(std::path::Path::new(&dir), &fixture::record())?;
    println!(
        "{}",
        hybrid_cache_report::terminal(&fixture::record(), 132, hybrid_cache_report::Color::Plain)
    );
    Ok(())
}
