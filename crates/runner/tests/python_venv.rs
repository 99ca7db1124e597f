//! An environment created without uv equals the one that uv creates.

use std::path::Path;
use std::process::Command;

use hybrid_cache_runner::python::Lookup;
use hybrid_cache_runner::python::venv::Home;

mod python_support;
use python_support::{Bench, run};

/// Everything that packages and installers query, without the environment's own path.
const TELL: &str = "import sys, sysconfig, site, json\n\
    facts = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.executable, sys._base_executable, sys.path,\n\
    sysconfig.get_paths(), sysconfig.get_config_vars(), site.getsitepackages(), sys.flags, sys.abiflags]\n\
    print(json.dumps(facts, default=str).replace(sys.prefix, '<environment>'))";

#[test]
fn the_interpreter_finds_itself_in_the_same_place() {
    let Some(bench) = Bench::new() else { return };
    let [ours, theirs] = ["ours", "theirs"].map(|name| bench.dir.path().join(name));
    let Some(home) = Home::find(&bench.interpreter) else {
        println!("skipped: this interpreter is laid out in its own way");
        return;
    };
    home.make(&ours).unwrap();
    let mut uv = Command::new(&bench.tools.uv);
    uv.args([
        "venv",
        "--relocatable",
        "--no-project",
        "--python",
        &bench.interpreter.path,
    ]);
    uv.arg(&theirs)
        .env("UV_NO_CONFIG", "1")
        .env("UV_CACHE_DIR", bench.dir.path().join("cache"));
    assert!(uv.output().unwrap().status.success());
    let reported = |environment: &Path| run(&environment.join("bin/python"), TELL);
    assert_eq!(reported(&ours), reported(&theirs));
    let fields = |environment: &Path| -> Vec<String> {
        let text = std::fs::read_to_string(environment.join("pyvenv.cfg")).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("uv ="));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(fields(&ours), fields(&theirs));
}

#[test]
fn a_script_runs_from_where_the_environment_was_published() {
    let Some(bench) = Bench::new() else { return };
    bench.prepare("tabulate");
    let Lookup::Hit(leased) = bench.lookup("tabulate") else {
        panic!("no hit")
    };
    let help = Command::new(leased.venv().join("bin/tabulate"))
        .arg("--help")
        .output()
        .unwrap();
    assert!(help.status.success(), "{}", String::from_utf8_lossy(&help.stderr));
}
