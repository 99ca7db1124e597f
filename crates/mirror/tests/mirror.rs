//! A mirror between a client and upstreams that tests make up: what is recorded, what is replayed, and what is refused.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

mod fake;
mod upstreams;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use fake::{Got, Said, get, request};
use hybrid_cache_mirror::{
    ClientSettings, Mirror, MirrorError, MirrorOptions, Mode, ReplayNetwork, Served, Upstream, UpstreamKind,
};
use sha2::{Digest as _, Sha256};

const JSON: &str = "application/vnd.pypi.simple.v1+json";
const TAKES_JSON: (&str, &str) = ("Accept", JSON);
const MAX_BYTES: u64 = 64 << 20;
const FAST: ReplayNetwork = ReplayNetwork {
    bits_per_s: 10_000_000_000,
    round_trip: Duration::ZERO,
};

fn digest(content: &[u8]) -> String {
    Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn recorder(folder: &Path, upstreams: Vec<Upstream>) -> Mirror {
    recorder_of(folder, upstreams, MAX_BYTES, BTreeMap::new())
}

fn recorder_of(folder: &Path, upstreams: Vec<Upstream>, max_bytes: u64, digests: BTreeMap<String, String>) -> Mirror {
    let mode = Mode::Record {
        client: Box::new(ClientSettings::default()),
        max_bytes,
        digests,
    };
    let folder = folder.to_owned();
    Mirror::start(MirrorOptions {
        folder,
        mode,
        upstreams,
    })
    .unwrap()
}

fn replay(folder: &Path, network: ReplayNetwork) -> Result<Mirror, MirrorError> {
    Mirror::start(MirrorOptions {
        folder: folder.to_owned(),
        mode: Mode::Replay(network),
        upstreams: Vec::new(),
    })
}

/// Waits until what is on its way is recorded.
fn settled(mirror: &Mirror) -> Served {
    settles(mirror, Duration::from_secs(20));
    mirror.so_far()
}

/// True if nothing is on its way any longer after this time.
fn settles(mirror: &Mirror, longest: Duration) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(mirror.settle(longest))
}

fn index(upstream: &fake::Upstream) -> Upstream {
    Upstream::new("default", UpstreamKind::Pages, &upstream.url("/simple"), None).unwrap()
}

/// The address of the first link of a page whose address ends with a slash.
fn linked(page: &str, got: &Got) -> String {
    let text = got.text();
    let from = text.find("../../files/").unwrap_or_else(|| panic!("no link in {text}"));
    let link = text[from..].split(['"', '#']).next().unwrap();
    let root = page.trim_end_matches('/').rsplitn(3, '/').nth(2).unwrap();
    link.replacen("../..", root, 1)
}

/// An index with one wheel, whose files are on another host.
struct Index {
    index: fake::Upstream,
    files: fake::Upstream,
    wheel: Vec<u8>,
}

impl Index {
    fn start() -> Index {
        let (index, files) = (fake::Upstream::start(), fake::Upstream::start());
        let wheel: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
        let metadata = b"Metadata-Version: 2.1\nName: x\nVersion: 1\n";
        let file = files.url("/w/x-1-py3-none-any.whl");
        let html = format!(
            "<a href=\"{file}#sha256={}\" data-requires-python=\"&gt;=3.8\" data-core-metadata=\"sha256={}\">x</a>",
            digest(&wheel),
            digest(metadata)
        );
        let json = serde_json::json!({"meta": {"api-version": "1.0"}, "name": "x", "files": [
            {"filename": "x-1-py3-none-any.whl", "url": file, "hashes": {"sha256": digest(&wheel)},
             "core-metadata": {"sha256": digest(metadata)}}
        ]});
        let mut page = Said::of(JSON, json.to_string());
        page.headers.push(("Cache-Control", "max-age=600".to_owned()));
        index.say("/simple/x/ json", page);
        index.say("/simple/x/", Said::of("text/html", html));
        index.say("/simple/old", Said::redirect("/simple/x/"));
        files.say("/w/x-1-py3-none-any.whl", Said::of("application/zip", wheel.clone()));
        files.say(
            "/w/x-1-py3-none-any.whl.metadata",
            Said::of("text/plain", metadata.to_vec()),
        );
        Index { index, files, wheel }
    }
}

#[test]
fn what_was_recorded_is_replayed_byte_for_byte_without_its_upstreams() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("mirror");
    let made = Index::start();
    let ask = |mirror: &Mirror| {
        let root = mirror.address("default");
        let page = format!("{root}x/");
        let html = get(&page, &[]);
        let json = get(&page, &[TAKES_JSON]);
        let packed = get(&page, &[TAKES_JSON, ("Accept-Encoding", "br, gzip")]);
        let wheel = linked(&page, &json);
        let whole = get(&wheel, &[]);
        let part = get(&wheel, &[("Range", "bytes=-100")]);
        let head = request("HEAD", &wheel, &[]);
        get(&format!("{wheel}.metadata"), &[]);
        let metadata = get(&format!("{wheel}.metadata"), &[]);
        let absent = get(&format!("{root}unknown/"), &[TAKES_JSON]);
        let old = get(&format!("{root}old"), &[]);
        // Only a recorded file tells what it offers.
        [
            html,
            json,
            packed,
            get(&wheel, &[]),
            part,
            metadata,
            absent,
            old,
            head,
            whole,
        ]
    };
    let recorded = recorder(&folder, vec![index(&made.index)]);
    let first = ask(&recorded);
    let served = settled(&recorded);
    assert_eq!((served.missing.len(), served.problems.len()), (0, 0), "{served:?}");
    drop(recorded);
    let wheel = made.wheel.clone();
    let (asked_index, asked_files) = (made.index.log().len(), made.files.log().len());
    drop(made);
    let replayed = replay(&folder, FAST).unwrap();
    let second = ask(&replayed);
    assert_eq!(first[..8], second[..8]);
    assert_eq!(second[3].body, wheel);
    assert_eq!((first[9].status, &first[9].body), (200, &wheel));
    assert_eq!((second[4].status, second[4].body.len()), (206, 100));
    assert_eq!(second[4].headers["content-range"], "bytes 299900-299999/300000");
    assert_eq!(
        (second[8].headers["content-length"].as_str(), second[8].body.len()),
        ("300000", 0)
    );
    assert_eq!((second[6].status, second[7].status), (404, 200));
    assert_eq!(second[2].headers["content-encoding"], "gzip");
    assert_eq!(second[1].headers["cache-control"], "max-age=600");
    assert!(
        second[0].text().contains("&gt;=3.8") && !second[0].text().contains("http"),
        "{}",
        second[0].text()
    );
    let tag = second[1].headers["etag"].clone();
    let known = get(
        &format!("{}x/", replayed.address("default")),
        &[TAKES_JSON, ("If-None-Match", &tag)],
    );
    assert_eq!((known.status, known.body.len()), (304, 0));
    let again = replayed.so_far();
    assert_eq!((again.digest, again.missing.len()), (served.digest, 0));
    // Each was fetched once: two forms of the page, one that is absent, and the way to another; then the wheel and its metadata.
    assert_eq!((asked_index, asked_files), (5, 2));
}

#[test]
fn what_is_not_recorded_is_named_and_only_who_knows_the_secret_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("mirror");
    assert!(matches!(replay(&folder, FAST), Err(MirrorError::Empty { .. })));
    let made = Index::start();
    let recorded = recorder(&folder, vec![index(&made.index)]);
    get(&format!("{}x/", recorded.address("default")), &[]);
    drop(recorded);
    let asked = made.index.log().len();
    let replayed = replay(&folder, FAST).unwrap();
    let root = replayed.address("default");
    for path in ["other/", "x/?page=2", "../secret", "x%0a/"] {
        assert_eq!(get(&format!("{root}{path}"), &[]).status, 404, "{path}");
    }
    // The same page in the form that nobody asked for.
    assert_eq!(get(&format!("{root}x/"), &[TAKES_JSON]).status, 404);
    assert_eq!(request("POST", &format!("{root}x/"), &[]).status, 405);
    let served = replayed.so_far();
    assert_eq!(
        served.missing,
        ["/default/../secret", "/default/other/", "/default/x%0a/", "/default/x/"]
    );
    assert_eq!(made.index.log().len(), asked, "a replay contacts no other host");
    let secret = root.split('/').nth(3).unwrap().to_owned();
    for wrong in [
        "/",
        "/default/x/",
        &format!("/{}/default/x/", "0".repeat(32)),
        &format!("/{secret}"),
    ] {
        let url = format!("http://{}{wrong}", root.split('/').nth(2).unwrap());
        assert_eq!(get(&url, &[]).status, 404, "{wrong}");
    }
    assert_eq!(replayed.so_far().requests, served.requests, "strangers do not count");
}

#[test]
fn nothing_that_is_broken_is_recorded_and_no_client_takes_it_for_whole() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("mirror");
    let upstream = fake::Upstream::start();
    let content = vec![7_u8; 200_000];
    let link = |name: &str, content: &[u8]| {
        let url = upstream.url(&format!("/f/{name}"));
        format!("<a href='{url}#sha256={}'>x</a>", digest(content))
    };
    upstream.say(
        "/simple/other-hash/",
        Said::of("text/html", link("a-1.whl", b"something else")),
    );
    upstream.say("/simple/truncated/", Said::of("text/html", link("b-1.whl", &content)));
    upstream.say("/f/a-1.whl", Said::of("application/zip", content.clone()));
    upstream.say(
        "/f/b-1.whl",
        Said::of("application/zip", content.clone()).claiming(300_000),
    );
    upstream.say(
        "/simple/cut/",
        Said::of("text/html", link("a-1.whl", &content)).claiming(5000),
    );
    upstream.say("/simple/broken/", Said::status(500));
    upstream.say("/simple/shut/", Said::status(403));
    upstream.say("/simple/text/", Said::of("text/plain", "hello"));
    upstream.say("/deb/pool/c.deb", Said::of("application/x", content.clone()));
    let debian = Upstream::new("debian-0", UpstreamKind::Files, &upstream.url("/deb"), None).unwrap();
    let digests = BTreeMap::from([("pool/c.deb".to_owned(), digest(b"another"))]);
    let recorded = recorder_of(&folder, vec![index(&upstream), debian], MAX_BYTES, digests);
    let root = recorded.address("default");
    for name in ["other-hash", "truncated"] {
        let page = format!("{root}{name}/");
        let got = get(&linked(&page, &get(&page, &[])), &[]);
        assert!(!got.is_good(), "{name}: {} bytes", got.body.len());
    }
    for (name, status) in [("cut", 502), ("broken", 500), ("shut", 403), ("text", 502)] {
        assert_eq!(get(&format!("{root}{name}/"), &[]).status, status, "{name}");
    }
    assert!(!get(&format!("{}pool/c.deb", recorded.address("debian-0")), &[]).is_good());
    let served = settled(&recorded);
    assert_eq!(served.problems.len(), 7, "{:#?}", served.problems);
    drop(recorded);
    let replayed = replay(&folder, FAST).unwrap();
    let root = replayed.address("default");
    for name in ["cut", "broken", "shut", "text"] {
        assert_eq!(get(&format!("{root}{name}/"), &[]).status, 404, "{name}");
    }
    let page = format!("{root}truncated/");
    assert_eq!(get(&linked(&page, &get(&page, &[])), &[]).status, 404);
    // What is repaired is recorded later.
    upstream.say("/f/b-1.whl", Said::of("application/zip", content.clone()));
    let again = recorder(&folder, vec![index(&upstream)]);
    let page = format!("{}truncated/", again.address("default"));
    let asked = upstream.log().len();
    assert_eq!(get(&linked(&page, &get(&page, &[])), &[]).body, content);
    assert_eq!(upstream.log().len(), asked + 1, "the page was recorded already");
}

#[test]
fn a_login_goes_to_its_own_host_alone_and_into_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("mirror");
    let made = Index::start();
    let elsewhere = fake::Upstream::start();
    let (files, wheel) = (elsewhere.url("/files/y-1.whl"), b"content".to_vec());
    let hostile = format!(
        "<a href='{files}'>y</a><a href='http://me:{0}@{1}/y-2.whl'>y</a><a href='{files}?token={0}'>y</a>\
         <a href='../../../../../etc/passwd'>y</a><a href='/x\r\ny-3.whl'>y</a><a href='file:///etc/passwd'>y</a>",
        "hush-hush", elsewhere.address
    );
    made.index.say("/simple/y/", Said::of("text/html", hostile));
    made.index
        .say("/simple/moved/", Said::redirect(&elsewhere.url("/simple/moved/")));
    elsewhere.say("/simple/moved/", Said::of("text/html", ""));
    elsewhere.say("/files/y-1.whl", Said::of("application/zip", wheel.clone()));
    let address = made.index.url("/simple").replace("//", "//robot:hush-hush@");
    let upstream = Upstream::new("default", UpstreamKind::Pages, &address, None).unwrap();
    assert!(!format!("{upstream:?}").contains("hush"));
    let recorded = recorder(&folder, vec![upstream]);
    let root = recorded.address("default");
    let page = get(&format!("{root}y/"), &[]);
    assert_eq!(page.text().matches("<a ").count(), 2, "{}", page.text());
    assert_eq!(get(&linked(&format!("{root}y/"), &page), &[]).body, wheel);
    assert_eq!(get(&format!("{root}moved/"), &[]).status, 200);
    assert!(
        made.index.log().iter().all(|line| line.contains(" Basic ")),
        "{:?}",
        made.index.log()
    );
    assert!(
        elsewhere.log().iter().all(|line| line.ends_with(" -")),
        "{:?}",
        elsewhere.log()
    );
    let served = settled(&recorded);
    assert_eq!(served.problems.len(), 1, "{:?}", served.problems);
    let found = std::process::Command::new("grep")
        .args(["-rlE", "hush|cm9ib3Q6"])
        .arg(&folder)
        .output()
        .unwrap();
    assert!(found.stdout.is_empty(), "{}", String::from_utf8_lossy(&found.stdout));
    for address in ["ftp://host/x", "https://host/simple?token=1", "simple"] {
        assert!(
            Upstream::new("default", UpstreamKind::Pages, address, None).is_err(),
            "{address}"
        );
    }
}

#[test]
fn two_recorders_at_once_and_clients_that_leave_spoil_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("mirror");
    let made = Index::start();
    let recorders = [(); 2].map(|()| recorder(&folder, vec![index(&made.index)]));
    std::thread::scope(|scope| {
        for recorder in &recorders {
            for _ in 0..3 {
                scope.spawn(|| {
                    let page = format!("{}x/", recorder.address("default"));
                    let got = get(&linked(&page, &get(&page, &[])), &[]);
                    assert_eq!(got.body, made.wheel);
                });
            }
        }
    });
    let digests = recorders.map(|recorder| settled(&recorder).digest);
    assert_eq!(digests[0], digests[1]);
    assert_eq!(std::fs::read_dir(folder.join("incoming")).unwrap().count(), 0);
    let replayed = replay(&folder, FAST).unwrap();
    let page = format!("{}x/", replayed.address("default"));
    assert_eq!(get(&linked(&page, &get(&page, &[])), &[]).body, made.wheel);
    // A client that asks for the head alone leaves before the body: the file is recorded all the same.
    let other = folder.with_file_name("other");
    let recorded = recorder(&other, vec![index(&made.index)]);
    let page = format!("{}x/", recorded.address("default"));
    request("HEAD", &linked(&page, &get(&page, &[])), &[]);
    settled(&recorded);
    drop(recorded);
    let replayed = replay(&other, FAST).unwrap();
    let page = format!("{}x/", replayed.address("default"));
    assert_eq!(get(&linked(&page, &get(&page, &[])), &[]).body, made.wheel);
}

#[test]
fn a_recording_that_is_full_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let made = Index::start();
    let recorded = recorder_of(
        &folder.path().join("mirror"),
        vec![index(&made.index)],
        100_000,
        BTreeMap::new(),
    );
    let page = format!("{}x/", recorded.address("default"));
    assert!(!get(&linked(&page, &get(&page, &[])), &[]).is_good());
    let served = settled(&recorded);
    assert!(
        served.problems[0].ends_with("the recording is as large as it may be"),
        "{:?}",
        served.problems
    );
}

/// A mirror with one file of `bytes` bytes, and the file's address.
fn one_file(folder: &Path, bytes: usize, network: ReplayNetwork) -> (Mirror, String) {
    let upstream = fake::Upstream::start();
    upstream.say("/pool/a.deb", Said::of("application/x", vec![1; bytes]));
    let debian = || Upstream::new("debian-0", UpstreamKind::Files, &upstream.url("/"), None).unwrap();
    let recorded = recorder(folder, vec![debian()]);
    get(&format!("{}pool/a.deb", recorded.address("debian-0")), &[]);
    settled(&recorded);
    drop(recorded);
    let mirror = replay(folder, network).unwrap();
    let address = format!("{}pool/a.deb", mirror.address("debian-0"));
    (mirror, address)
}

#[test]
fn a_replay_has_the_bandwidth_that_was_chosen_shared_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let network = ReplayNetwork {
        bits_per_s: 8_000_000,
        round_trip: Duration::ZERO,
    };
    let (mirror, address) = one_file(&folder.path().join("mirror"), 1_000_000, network);
    let began = Instant::now();
    assert_eq!(get(&address, &[]).body.len(), 1_000_000);
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| assert_eq!(get(&address, &[]).body.len(), 1_000_000));
        }
    });
    assert!(began.elapsed() >= Duration::from_millis(1800), "{:?}", began.elapsed());
    let served = mirror.so_far();
    assert_eq!((served.requests, served.bytes), (3, 3_000_000));
}

#[test]
fn a_replay_has_the_round_trip_that_was_chosen_twice_for_a_new_connection() {
    let folder = tempfile::tempdir().unwrap();
    let network = ReplayNetwork {
        round_trip: Duration::from_millis(150),
        ..FAST
    };
    let (_mirror, address) = one_file(&folder.path().join("mirror"), 10, network);
    let began = Instant::now();
    get(&address, &[]);
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    // One connection for three requests.
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
    let began = Instant::now();
    for _ in 0..3 {
        agent.get(&address).call().unwrap().body_mut().read_to_vec().unwrap();
    }
    assert!(began.elapsed() >= Duration::from_millis(600), "{:?}", began.elapsed());
}
