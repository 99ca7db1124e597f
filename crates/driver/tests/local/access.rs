//! Volumes that may not be touched or not be written, and users other than root.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use hybrid_cache_driver::local::{LocalConfig, Maintenance};
use hybrid_cache_driver::{Epoch, SubmitOptions};
use hybrid_cache_model::maintain::MaintainReport;
use hybrid_cache_model::protocol::Interpreter;
use hybrid_cache_model::{End, FailureKind, TaskSpec};

use crate::bench::{Bench, difference, machine, machine_with_nix, not_root, python, system};
use crate::roles::Play;
use crate::sandbox::FORGER;

/// An ordinary user that owns nothing.
const SOMEBODY: u32 = 1000;

#[tokio::test]
async fn an_unknown_layout_is_refused_and_left_untouched() {
    let Some(config) = machine_with_nix("an_unknown_layout_is_refused_and_left_untouched") else {
        return;
    };
    let volumes = [
        ("volumes/python", "envs/k", python("idna", "print(1)")),
        (
            "volumes/system/.nix-portable/nix/var/hybrid-cache",
            "index/k",
            system("m4", "print(1)"),
        ),
    ];
    for (folder, content, spec) in volumes {
        let bench = Bench::empty(config.clone());
        let folder = bench.config.root.join(folder);
        fs::create_dir_all(folder.join(content)).unwrap();
        fs::write(folder.join(content).join("kept"), "as it was").unwrap();
        fs::write(folder.join("FORMAT"), "hybrid-cache of the future 999\n").unwrap();
        let before = bench.listing();
        let ran = bench.run(&spec).await;
        let failure = ran.failed(FailureKind::CacheFormat);
        assert!(
            failure.message.contains("of the future 999") && failure.hint.is_some(),
            "{failure}"
        );
        let collect = Maintenance::Gc {
            budget_bytes: Some(1),
            budget_inodes: Some(1),
        };
        for what in [Maintenance::Usage, collect, Maintenance::Verify { repair: false }] {
            match bench.driver.maintain(&Epoch::Standing, what).await.unwrap() {
                MaintainReport::Failed { failure } => assert_eq!(failure.kind, FailureKind::CacheFormat),
                other => panic!("{what:?} came to {other:?}"),
            }
        }
        assert!(bench.driver.warm(&spec, &SubmitOptions::default()).await.is_err());
        assert_eq!(difference(&before, &bench.listing()), Vec::<String>::new());
    }
}

/// What the part reported: each task's outcome with its output, and the end.
fn reported(text: &str) -> Vec<serde_json::Value> {
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

#[tokio::test]
async fn a_read_only_cache_folder_serves_what_it_holds() {
    let test = "a_read_only_cache_folder_serves_what_it_holds";
    let Some(config) = machine_with_nix(test) else { return };
    if not_root(test) {
        return;
    }
    let bench = Bench::empty(config);
    let mut cached = python(
        "idna",
        "import idna, subprocess; print(subprocess.run(['m4', '--version'], capture_output=True).returncode)",
    );
    cached.system_dependencies = "m4".to_owned();
    assert_eq!(bench.run(&cached).await.good(), "0");
    let mut bypassing = TaskSpec::new("print(1)");
    bypassing.use_cache = false;
    let tasks = [
        cached,
        python("packaging", "print(1)"),
        system("gzip", "print(1)"),
        bypassing,
    ];
    let before = bench.listing();
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" || exit 99; exec \"$@\"";
    let root = bench.config.root.to_str().unwrap();
    let text = Play::new(&bench.config, &tasks).run(&["unshare", "-m", "sh", "-c", script, root]);
    let reported = reported(&text);
    if reported.is_empty() && text.contains("mount") {
        println!("skipped: {test}: this user may not mount: {text}");
        return;
    }
    let [ran, python, system, bypassed, _] = &reported[..] else {
        panic!("{text}")
    };
    assert_eq!(
        (&ran["outcome"]["end"], &ran["stdout"]),
        (&"exited".into(), &"0\n".into()),
        "{ran}"
    );
    assert!(ran["outcome"]["cache"].to_string().matches("hit").count() == 2, "{ran}");
    let warnings = ran["outcome"]["warnings"].to_string();
    assert!(warnings.contains("share this machine's network"), "{ran}");
    for missed in [python, system, bypassed] {
        let failure = &missed["outcome"]["failure"];
        assert_eq!(failure["kind"], "cache_access", "{missed}");
        assert!(
            failure["message"].to_string().to_lowercase().contains("read-only"),
            "{missed}"
        );
    }
    assert_eq!(difference(&before, &bench.listing()), Vec::<String>::new());
}

/// Starts a program as another user; through `env`, because setpriv itself still has root's rights when it starts a program.
fn as_somebody() -> Vec<String> {
    let (user, group) = (format!("--reuid={SOMEBODY}"), format!("--regid={SOMEBODY}"));
    ["setpriv", &user, &group, "--clear-groups", "--", "env"]
        .map(str::to_owned)
        .into()
}

/// An interpreter that another user may start: the configured one may be below root's home.
fn interpreter_for_somebody(config: &mut LocalConfig) -> Option<()> {
    const WHO: &str = "import os, sys, sysconfig; print(os.path.realpath(sys._base_executable), '.'.join(map(str, sys.version_info[:3])), \
                       sys.implementation.cache_tag, sysconfig.get_platform(), os.path.realpath(sys.base_prefix), sep='\\n')";
    let ask = |program: &str| {
        let command = as_somebody();
        let output = Command::new(&command[0])
            .args(&command[1..])
            .args([program, "-I", "-c", WHO])
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let answer = ask(&config.interpreter.path.clone()).or_else(|| ask("/usr/bin/python3"))?;
    let lines: Vec<&str> = answer.lines().collect();
    let [path, version, abi, platform, prefix] = lines[..] else {
        return None;
    };
    config.interpreter = Interpreter {
        path: path.to_owned(),
        version: version.to_owned(),
        abi: abi.to_owned(),
        platform: platform.to_owned(),
        ..config.interpreter.clone()
    };
    config.interpreter_prefix = prefix.into();
    Some(())
}

/// What another user may not start or read of what the driver needs.
fn out_of_reach(config: &LocalConfig) -> Option<String> {
    let program = std::env::current_exe().unwrap();
    let nix = Path::new(&config.python_tools.uv).to_owned();
    let needed = [program, config.runner.clone(), (&config.bubblewrap[0]).into(), nix];
    let command = as_somebody();
    needed.into_iter().find_map(|path| {
        let tried = Command::new(&command[0])
            .args(&command[1..])
            .args(["test", "-x"])
            .arg(&path)
            .status();
        let good = tried.is_ok_and(|status| status.success());
        (!good).then(|| path.display().to_string())
    })
}

fn give_to_somebody(folder: &Path) {
    chown(folder, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            give_to_somebody(&entry.path());
        } else {
            std::os::unix::fs::lchown(entry.path(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        }
    }
}

#[tokio::test]
async fn an_ordinary_user_runs_everything_too() {
    let test = "an_ordinary_user_runs_everything_too";
    let Some(mut config) = machine_with_nix(test) else {
        return;
    };
    if not_root(test) {
        // Then every other test has shown it.
        return;
    }
    if interpreter_for_somebody(&mut config).is_none() {
        println!("skipped: {test}: an ordinary user may start no interpreter here");
        return;
    }
    if let Some(path) = out_of_reach(&config) {
        println!("skipped: {test}: an ordinary user may not start {path}");
        return;
    }
    let bench = Bench::empty(config);
    give_to_somebody(&bench.config.root);
    let both = |code: &str| TaskSpec {
        system_dependencies: "m4".to_owned(),
        ..python("idna", code)
    };
    let code = "import idna, os, subprocess; print(os.getuid(), subprocess.run(['m4', '--version'], capture_output=True).returncode)";
    let mut bypassing = both(code);
    bypassing.use_cache = false;
    let tasks = [both(code), both(code), TaskSpec::new(FORGER), bypassing];
    let play = Play::new(&bench.config, &tasks);
    give_to_somebody(play.folder());
    let prefix = as_somebody();
    let text = play.run(&prefix.iter().map(String::as_str).collect::<Vec<_>>());
    let reported = reported(&text);
    let [first, cached, forger, bypassed, end] = &reported[..] else {
        panic!("{text}")
    };
    for (ran, status) in [(first, "built"), (cached, "hit"), (bypassed, "bypassed")] {
        assert_eq!(ran["stdout"], format!("{SOMEBODY} 0\n"), "{ran}");
        for lane in ["python", "system"] {
            assert_eq!(ran["outcome"]["cache"][lane]["status"], status, "{ran}");
        }
    }
    let ended: End = serde_json::from_value(forger["outcome"].clone()).unwrap();
    assert_eq!(
        (ended, &forger["stdout"]),
        (End::Exited { code: 3 }, &"end\n".into()),
        "{forger}"
    );
    assert_eq!(end["verified"]["problems"], serde_json::json!([]), "{end}");
    assert!(!bench.config.root.join("bypass").exists());
}

#[tokio::test]
async fn looking_after_empty_volumes_leaves_them_empty_and_usable() {
    let Some(config) = machine_with_nix("looking_after_empty_volumes_leaves_them_empty_and_usable") else {
        return;
    };
    let bench = Bench::empty(config);
    let before = bench.listing();
    for _ in 0..2 {
        assert!(bench.verify().await.is_clean());
        bench.gc(1).await;
        let usage = bench.driver.maintain(&Epoch::Standing, Maintenance::Usage).await;
        let Ok(MaintainReport::Usage(usage)) = usage else {
            panic!("{usage:?}")
        };
        assert_eq!((usage.environments, usage.system_sets), (0, 0));
    }
    let system_before: Vec<_> = before.iter().filter(|line| line.contains("system")).collect();
    let after = bench.listing();
    assert_eq!(
        after.iter().filter(|line| line.contains("system")).collect::<Vec<_>>(),
        system_before
    );
    let mut spec = python("idna", "import idna; print('good')");
    spec.system_dependencies = "m4".to_owned();
    assert_eq!(bench.run(&spec).await.good(), "good");
}

#[tokio::test]
async fn a_folder_of_another_user_is_named() {
    let Some(config) = machine("a_folder_of_another_user_is_named") else {
        return;
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    let root = file.path().join("below-a-file");
    let error = hybrid_cache_driver::local::LocalDriver::open(LocalConfig {
        root: root.clone(),
        ..config
    });
    let reported = error.err().expect("it cannot be opened").to_string();
    assert!(reported.contains(root.to_str().unwrap()), "{reported}");
}
