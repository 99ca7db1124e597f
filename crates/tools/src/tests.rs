//! Provisioning against doubles on this machine, and for real where the machine reaches what it needs.
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::deb;
use crate::download::{Wanted, digest, fetch};
use crate::pins::{self, Deb};
use crate::tool::{version_of, version_reached};
use crate::tool_dir::ToolDir;
use crate::*;

/// The checkout that these tests belong to.
pub fn checkout() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .canonicalize()
        .unwrap()
}

/// Provisions into the checkout itself, or says why the test is skipped.
pub fn provisioned(choice: &ToolChoice) -> Option<Tools> {
    match provision(&checkout(), choice, &Silent) {
        Ok(tools) => Some(tools),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

/// A server that hands out one file. It understands `range`, and cuts its first answers after `cut_bytes`.
struct Server {
    address: String,
    requests: Arc<AtomicUsize>,
}

fn serve(content: &'static [u8], cuts: usize, cut_bytes: usize) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/file", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut from = 0;
            let mut is_head = false;
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                let line = line.unwrap().to_lowercase();
                is_head |= line.starts_with("head ");
                if let Some(range) = line.strip_prefix("range: bytes=") {
                    from = range.trim_end_matches('-').parse().unwrap();
                }
                if line.is_empty() {
                    break;
                }
            }
            let number = count.fetch_add(1, Ordering::SeqCst);
            let body = &content[from..];
            let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).unwrap();
            let end = if number < cuts {
                cut_bytes.min(body.len())
            } else {
                body.len()
            };
            if !is_head {
                let _ = stream.write_all(&body[..end]);
            }
        }
    });
    Server { address, requests }
}

fn sha256(content: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x"), content).unwrap();
    digest(&dir.path().join("x")).unwrap()
}

#[test]
fn a_cut_download_goes_on_where_it_stopped() {
    let content: &[u8] = &[7; 100_000];
    let server = serve(content, 1, 30_000);
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("file");
    let urls = [server.address];
    let wanted = Wanted {
        what: "file",
        urls: &urls,
        sha256: &sha256(content),
        agent: &download::agent(None, download::ANSWER_TIMEOUT),
    };
    fetch(&wanted, &target, &Silent).unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), content);
    assert_eq!(server.requests.load(Ordering::SeqCst), 2);
    // there and right: not asked for again
    fetch(&wanted, &target, &Silent).unwrap();
    assert_eq!(server.requests.load(Ordering::SeqCst), 2);
}

#[test]
fn a_wrong_file_is_refused_by_name_and_not_resumed() {
    let server = serve(b"not what was pinned", 0, 0);
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("file");
    let urls = [server.address];
    let expected = sha256(b"what was pinned");
    let error = fetch(
        &Wanted {
            what: "file",
            urls: &urls,
            sha256: &expected,
            agent: &download::agent(None, download::ANSWER_TIMEOUT),
        },
        &target,
        &Silent,
    )
    .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("file") && text.contains(&expected) && text.contains(&sha256(b"not what was pinned")),
        "{text}"
    );
    assert!(error.hint().contains("delete"), "{}", error.hint());
    assert!(!target.exists() && !dir.path().join("file.part").exists());
}

#[test]
fn a_server_that_is_gone_is_an_error_within_a_second() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let urls = [format!("http://{}/file", listener.local_addr().unwrap())];
    drop(listener);
    let dir = tempfile::tempdir().unwrap();
    let started = std::time::Instant::now();
    let wanted = Wanted {
        what: "file",
        urls: &urls,
        sha256: "00",
        agent: &download::agent(None, download::ANSWER_TIMEOUT),
    };
    let error = fetch(&wanted, &dir.path().join("file"), &Silent).unwrap_err();
    assert!(matches!(error, ToolError::Download { .. }), "{error}");
    assert!(started.elapsed().as_secs() < 2);
}

/// A checkout with the real pins, changed by `edit`.
fn checkout_with(edit: impl Fn(String) -> String) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("images/debnix")).unwrap();
    for file in [pins::TOOLS_FILE, pins::DEBS_FILE] {
        let text = std::fs::read_to_string(checkout().join(file)).unwrap();
        std::fs::write(
            dir.path().join(file),
            if file == pins::TOOLS_FILE { edit(text) } else { text },
        )
        .unwrap();
    }
    dir
}

/// Stands for nix-portable.
const FAKE_PORTABLE: &[u8] = b"#!/bin/sh\necho nix-portable was asked: $*\n";

#[test]
fn nix_portable_is_brought_and_runs_where_its_release_is_reached() {
    let server = serve(FAKE_PORTABLE, 1, 10);
    let arch = std::env::consts::ARCH;
    let dir = checkout_with(|text| {
        let mut pins: toml::Table = text.parse().unwrap();
        let portable = pins["nix-portable"].as_table_mut().unwrap();
        portable.insert("url".into(), server.address.clone().into());
        portable.insert(
            "sha256".into(),
            toml::Table::from_iter([(arch.to_owned(), sha256(FAKE_PORTABLE).into())]).into(),
        );
        toml::to_string(&pins).unwrap()
    });
    let (tool_pins, deb_pins) = pins::read(dir.path()).unwrap();
    let place = ToolDir::new(dir.path()).unwrap();
    let at = nix::NixContext {
        checkout: dir.path(),
        dir: &place,
        tool_pins: &tool_pins,
        deb_pins: &deb_pins,
        arch,
        mirror: None,
    };
    let (tool, source) = nix::provide(&at, &ToolChoice::default(), &Silent).unwrap();
    assert_eq!(tool.provider, NixProvider::NixPortable);
    assert!(matches!(source, PackageSource::Nixpkgs { .. }));
    let said = process::output(
        std::process::Command::new(&tool.program).arg("nix"),
        std::time::Duration::from_secs(9),
    );
    assert_eq!(said.unwrap(), "nix-portable was asked: nix\n");
}

#[test]
fn where_nothing_is_reached_the_error_says_what_to_install() {
    let dir = checkout_with(|text| text.replace("https://github.com/", "http://127.0.0.1:9/"));
    let (tool_pins, deb_pins) = pins::read(dir.path()).unwrap();
    let place = ToolDir::new(dir.path()).unwrap();
    let arch = std::env::consts::ARCH;
    let at = nix::NixContext {
        checkout: dir.path(),
        dir: &place,
        tool_pins: &tool_pins,
        deb_pins: &deb_pins,
        arch,
        mirror: None,
    };
    let error = nix::provide(&at, &ToolChoice::default(), &Silent).unwrap_err();
    assert!(error.to_string().contains("nix is not available"), "{error}");
    assert!(error.hint().contains("install"), "{}", error.hint());
}

#[test]
fn every_pin_is_complete_for_both_architectures() {
    let (tool_pins, deb_pins) = pins::read(&checkout()).unwrap();
    for arch in ["x86_64", "aarch64"] {
        for tool in ["bubblewrap", "busybox", "nix", "passt"] {
            assert!(!deb_pins.tool(arch, tool).unwrap().is_empty());
        }
        assert!(tool_pins.uv.sha256.contains_key(arch) && tool_pins.nix_portable.sha256.contains_key(arch));
        let sets = &deb_pins.arch[arch];
        for (attribute, packages) in &sets.set {
            assert!(packages.iter().all(|name| sets.debs.contains_key(name)), "{attribute}");
        }
    }
}

#[test]
fn the_machine_gets_every_tool_and_each_one_runs() {
    let Some(tools) = provisioned(&ToolChoice::default()) else {
        return;
    };
    let said = process::output(
        std::process::Command::new(&tools.uv.path).arg("--version"),
        std::time::Duration::from_secs(10),
    );
    assert!(said.unwrap().contains(&tools.uv.version));
    assert!(tools.interpreter.path.is_absolute() && tools.interpreter.base_prefix.is_dir());
    let json = serde_json::to_string(&tools).unwrap();
    assert!(!json.contains("\"apt_mirror\""), "a report must not name the mirror");
}

#[test]
#[ignore = "brings every tool anew: 40 MB from the network"]
fn two_at_once_fill_an_empty_tool_folder() {
    let dir = checkout_with(|text| text);
    for file in std::fs::read_dir(checkout().join("images/debnix")).unwrap().flatten() {
        std::fs::copy(file.path(), dir.path().join("images/debnix").join(file.file_name())).unwrap();
    }
    let bring = || provision(dir.path(), &ToolChoice::default(), &Silent);
    let started = std::time::Instant::now();
    let (one, two) = std::thread::scope(|scope| {
        let other = scope.spawn(bring);
        (bring().unwrap(), other.join().unwrap().unwrap())
    });
    println!("brought in {:.1} s", started.elapsed().as_secs_f64());
    assert_eq!(one.uv.path, two.uv.path);
    let mut names: Vec<_> = std::fs::read_dir(dir.path().join(".tools"))
        .unwrap()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    names.retain(|name| name.to_string_lossy().contains("staging"));
    assert!(names.is_empty(), "{names:?}");
    let nix = one.nix.unwrap();
    let said = process::output(
        std::process::Command::new(nix.program).arg("--version"),
        std::time::Duration::from_secs(9),
    );
    assert!(said.unwrap().contains(&nix.version));
    // on a machine whose own libraries do not fit, the sandbox starts through its packages' loader
    if let Origin::Brought { .. } = one.bwrap.origin {
        let folder = one.bwrap.path.ancestors().nth(3).unwrap();
        let command = deb::through_loader(folder, std::env::consts::ARCH, &one.bwrap.path);
        bubblewrap::works(&command).unwrap();
    }
}

#[test]
fn versions_compare_by_number() {
    assert!(version_reached("0.11.0", "0.5.0") && version_reached("2.8", "2.8") && !version_reached("0.4.9", "0.5.0"));
    let deb = |version: &str| Deb {
        version: version.into(),
        path: String::new(),
        size: 0,
        sha256: String::new(),
    };
    for (version, upstream) in [
        ("1:1.35.0-4+deb12u1+b1", "1.35.0"),
        ("2.8.0-1.1+b1", "2.8.0"),
        ("7", "7"),
    ] {
        assert_eq!(version_of(&[("p", &deb(version))], "p"), upstream);
    }
}
