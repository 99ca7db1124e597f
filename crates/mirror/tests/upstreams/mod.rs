//! Several upstreams: whose answers a recording has.

use super::*;

fn replay_of(folder: &Path, upstreams: Vec<Upstream>) -> Mirror {
    Mirror::start(MirrorOptions {
        folder: folder.to_owned(),
        mode: Mode::Replay(FAST),
        upstreams,
    })
    .unwrap()
}

/// An index with one page and a file, at an address of its own.
fn named(name: &str) -> fake::Upstream {
    let upstream = fake::Upstream::start();
    let page = format!("<a href='/f/{name}-1.whl'>x</a>");
    upstream.say("/simple/x/", Said::of("text/html", page));
    upstream.say("/deb/pool/a.deb", Said::of("application/x", name));
    upstream
}

fn both(upstream: &fake::Upstream) -> Vec<Upstream> {
    let debian = Upstream::new("debian-0", UpstreamKind::Files, &upstream.url("/deb/"), None);
    vec![index(upstream), debian.unwrap()]
}

/// The page and the file.
fn answers(mirror: &Mirror) -> [Got; 2] {
    let page = format!("{}x/", mirror.address("default"));
    let file = format!("{}pool/a.deb", mirror.address("debian-0"));
    [get(&page, &[]), get(&file, &[])]
}

#[test]
fn what_was_recorded_from_another_address_is_neither_kept_nor_replayed_for_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("mirror");
    let (ours, theirs) = (named("ours"), named("theirs"));
    theirs.say("/simple/only/", Said::of("text/html", ""));
    let recorded = recorder(&folder, both(&ours));
    let only = |mirror: &Mirror| get(&format!("{}only/", mirror.address("default")), &[]).status;
    assert!(answers(&recorded)[0].text().contains("ours-1.whl"));
    assert_eq!(only(&recorded), 404);
    settled(&recorded);
    drop(recorded);
    let replayed = replay_of(&folder, both(&theirs));
    assert_eq!(answers(&replayed).map(|got| got.status), [404, 404]);
    assert_eq!(
        replayed.so_far().missing,
        ["/debian-0/pool/a.deb", "/default/x/"].map(|path| format!("{path} (recorded from another address)"))
    );
    drop(replayed);
    let recorded = recorder(&folder, both(&theirs));
    let [page, file] = answers(&recorded);
    assert!(page.text().contains("theirs-1.whl"), "{}", page.text());
    assert_eq!((file.text().as_str(), only(&recorded)), ("theirs", 200));
    settled(&recorded);
    drop(recorded);
    // A login and a slash make no other address, and one that is not known refuses nothing.
    let address = theirs.url("/simple/").replace("//1", "//me:hush@1");
    let with_login = Upstream::new("default", UpstreamKind::Pages, &address, None).unwrap();
    for known in [both(&theirs), vec![with_login], Vec::new()] {
        assert_eq!(answers(&replay_of(&folder, known)).map(|got| got.status), [200, 200]);
    }
    assert_eq!(
        answers(&replay_of(&folder, both(&ours))).map(|got| got.status),
        [404, 404]
    );
}

#[test]
fn two_indexes_of_one_host_get_their_own_logins() {
    let folder = tempfile::tempdir().unwrap();
    let host = fake::Upstream::start();
    let page = |name: &str| Said::of("text/html", format!("<a href='/files/{name}-1.whl'>x</a>"));
    for path in ["/a/x/", "/ab/x/", "/a/deep/x/", "/open/x/"] {
        host.say(path, page("x"));
    }
    host.say("/files/x-1.whl", Said::of("application/zip", "content"));
    let index =
        |label: &str, path: &str, login| Upstream::new(label, UpstreamKind::Pages, &host.url(path), login).unwrap();
    let all = vec![
        index("index-0", "/a", Some(("alice", "a"))),
        index("index-1", "/ab/", Some(("bob", "b"))),
        index("index-2", "/a/deep", Some(("carol", "c"))),
        index("index-3", "/open", None),
    ];
    let recorded = recorder(&folder.path().join("several"), all);
    let ask = |mirror: &Mirror, label: &str| {
        let page = format!("{}x/", mirror.address(label));
        let got = get(&page, &[]);
        (page, got)
    };
    for label in ["index-0", "index-1", "index-2", "index-3"] {
        ask(&recorded, label);
    }
    let (page, got) = ask(&recorded, "index-0");
    assert!(get(&linked(&page, &got), &[]).is_good());
    assert_eq!(
        host.log(),
        [
            "/a/x/ Basic YWxpY2U6YQ==",
            "/ab/x/ Basic Ym9iOmI=",
            "/a/deep/x/ Basic Y2Fyb2w6Yw==",
            "/open/x/ -",
            // Nothing says whose file it is.
            "/files/x-1.whl -",
        ]
    );
    let alone = vec![index("index-0", "/a", Some(("alice", "a")))];
    let recorded = recorder(&folder.path().join("alone"), alone);
    let (page, got) = ask(&recorded, "index-0");
    assert!(get(&linked(&page, &got), &[]).is_good());
    assert_eq!(host.log().last().unwrap(), "/files/x-1.whl Basic YWxpY2U6YQ==");
}

#[test]
fn a_recording_that_ends_before_its_files_do_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let stalled = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = format!("http://{}/", stalled.local_addr().unwrap());
    let debian = Upstream::new("debian-0", UpstreamKind::Files, &address, None).unwrap();
    let recorded = recorder(&folder.path().join("mirror"), vec![debian]);
    assert!(settles(&recorded, Duration::ZERO), "nothing has begun");
    let file = format!("{}pool/a.deb", recorded.address("debian-0"));
    let client = std::thread::spawn(move || get(&file, &[]));
    let (told, accepted) = std::sync::mpsc::channel();
    std::thread::spawn(move || told.send(stalled.accept()));
    let connection = accepted.recv_timeout(Duration::from_secs(20)).unwrap().unwrap();
    assert!(!settles(&recorded, Duration::from_millis(50)));
    assert!(recorded.so_far().problems.is_empty());
    drop(connection);
    assert!(settles(&recorded, Duration::from_secs(20)));
    assert_eq!(recorded.so_far().problems.len(), 1);
    assert!(!client.join().unwrap().is_good());
}
