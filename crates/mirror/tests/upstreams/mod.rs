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
