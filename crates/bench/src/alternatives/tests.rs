//! Peers with a uv that a test controls: what fills a cache, and what a failure leaves.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use hybrid_cache_model::protocol::PythonTools;
use tempfile::TempDir;

use super::*;

/// A uv that notes whether its cache was warm, fills it, fails while there is a file `broken`, and prints what the program would.
const UV: &str = "#!/bin/sh
for last; do :; done
if [ -e \"$UV_CACHE_DIR/full\" ]; then echo warm >> STAND/log; else echo cold >> STAND/log; fi
mkdir -p \"$UV_CACHE_DIR\" && touch \"$UV_CACHE_DIR/full\"
if [ -e STAND/broken ]; then echo 'no such index' >&2; exit 7; fi
case \"$(cat \"$last\")\" in
  *importlib*) echo '{\"python\": \"3.11.7\", \"packages\": {\"idna\": \"3.10\"}, \"search_path\": []}' ;;
  *) echo works ;;
esac
";

struct Stand {
    folder: TempDir,
    alternatives: Alternatives,
    resolved: Resolved,
}

impl Stand {
    fn new() -> Stand {
        let folder = tempfile::tempdir().unwrap();
        let uv = folder.path().join("uv");
        std::fs::write(&uv, UV.replace("STAND", folder.path().to_str().unwrap())).unwrap();
        std::fs::set_permissions(&uv, std::fs::Permissions::from_mode(0o755)).unwrap();
        let kept = folder.path().join("kept");
        std::fs::create_dir(&kept).unwrap();
        let tools = AlternativeTools {
            python: PythonTools {
                uv: uv.display().to_string(),
                variables: Vec::new(),
            },
            pex: None,
            nix: None,
            threads: 1,
            missing: BTreeMap::from([(Peer::PexVenv.name(), "no index has it".to_owned())]),
            records: Vec::new(),
        };
        let resolved = Resolved {
            python: vec!["idna==3.10".to_owned()],
            ..Resolved::default()
        };
        Stand {
            alternatives: Alternatives::new(tools, kept),
            folder,
            resolved,
        }
    }

    async fn run(&mut self) -> Result<Duration> {
        let scenario = scenario("idna", "");
        let task = PeerTask {
            scenario: &scenario,
            peer: Peer::UvRunWith,
            interpreter: Path::new("/python"),
            resolved: &self.resolved,
        };
        self.alternatives.run(task).await
    }

    fn log(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    fn break_uv(&self, is_broken: bool) {
        let file = self.folder.path().join("broken");
        if is_broken {
            std::fs::write(file, "").unwrap();
        } else {
            std::fs::remove_file(file).unwrap();
        }
    }

    fn kept(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("kept")).unwrap().count()
    }
}

fn scenario(python: &str, system: &str) -> Scenario {
    let text = format!(
        "name: small\nwhy: a test\nrequest:\n  pythonCode: print('works')\n  dependencies: {python:?}\n  systemDependencies: \
         {system:?}\nexpect:\n  stdout:\n    equals: works\n"
    );
    Scenario::from_yaml("small.yaml", &text).unwrap()
}

#[tokio::test]
async fn runs_that_do_not_count_fill_the_cache_of_those_that_do() {
    let mut stand = Stand::new();
    for _ in 0..2 {
        stand.run().await.unwrap();
    }
    assert_eq!(stand.log(), ["cold", "warm", "warm", "warm"]);
    // Other versions are other work.
    stand.resolved.python = vec!["idna==3.11".to_owned()];
    let reported = stand.run().await.unwrap_err().to_string();
    assert!(reported.contains("idna 3.10 instead of 3.11"), "{reported}");
    assert_eq!(stand.kept(), 0);
}

#[tokio::test]
async fn a_run_that_fails_leaves_nothing_that_makes_a_later_one_warm() {
    let mut stand = Stand::new();
    stand.run().await.unwrap();
    stand.break_uv(true);
    let reported = stand.run().await.unwrap_err().to_string();
    assert!(
        reported.contains("no such index") && reported.contains("exit status: 7"),
        "{reported}"
    );
    assert_eq!(stand.kept(), 0, "its cache is gone");
    stand.break_uv(false);
    stand.run().await.unwrap();
    assert_eq!(stand.log()[3..], ["warm", "cold", "warm", "warm"]);
}

#[tokio::test]
async fn a_peer_that_always_fails_does_not_hold_a_run_up() {
    let mut stand = Stand::new();
    stand.break_uv(true);
    for _ in 0..5 {
        stand.run().await.unwrap_err();
    }
    let reported = stand.run().await.unwrap_err().to_string();
    assert!(
        reported.starts_with("not tried again after 3 failures; the last one: "),
        "{reported}"
    );
    assert_eq!(stand.log(), ["cold", "cold", "cold"]);
}

#[test]
fn a_peer_is_measured_if_it_can_do_the_scenarios_work_and_otherwise_says_why_not() {
    let tools = Stand::new().alternatives.tools;
    let mut absent = Vec::new();
    let measured = peers(&tools, &scenario("idna", ""), &mut absent);
    assert_eq!(
        measured,
        [Peer::UvRunScript, Peer::UvRunWith, Peer::UvVenv, Peer::PipVenv]
    );
    let reported: Vec<(Peer, &str)> = absent.iter().map(|one| (one.peer, one.reason.as_str())).collect();
    assert_eq!(reported, [(Peer::PexVenv, "no index has it")]);
    absent.clear();
    assert_eq!(peers(&tools, &scenario("", "gcc"), &mut absent), [Peer::NixShell]);
    assert!(absent.is_empty());
    assert!(peers(&tools, &scenario("idna", "gcc"), &mut absent).is_empty());
    assert_eq!(
        absent.len(),
        Peer::ALTERNATIVES.len(),
        "each says what it does not bring"
    );
    absent.clear();
    assert!(peers(&tools, &scenario("", ""), &mut absent).is_empty() && absent.is_empty());
    let mut by_address = scenario("", "");
    by_address.request.requirements_file = "idna @ https://files.example/idna-3.10-py3-none-any.whl\n".to_owned();
    assert!(peers(&tools, &by_address, &mut absent).is_empty());
    let reasons: Vec<&str> = absent.iter().map(|one| one.reason.as_str()).collect();
    assert_eq!(reasons, ["the scenario names a package by its address"; 5]);
}
