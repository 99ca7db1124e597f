//! The README's examples, run word for word.

#[test]
fn the_readme_shows_what_the_commands_print() {
    // The commands are given at the root of the checkout; this is the only test of its process.
    std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).expect("the checkout has a root");
    trycmd::TestCases::new()
        .register_bin("cargo", std::path::PathBuf::from(env!("CARGO_BIN_EXE_xtask")))
        .case("README.md");
}
