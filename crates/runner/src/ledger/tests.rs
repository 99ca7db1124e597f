//! What a ledger keeps, and what it makes of lines that are not whole.

use super::*;

fn takes(bytes: u64) -> DiskUsage {
    DiskUsage {
        bytes,
        inodes: bytes / 10,
        entries: 1,
    }
}

fn part(name: &str, bytes: u64) -> Part {
    Part {
        name: name.to_owned(),
        mark: 7,
        size: takes(bytes),
    }
}

fn member(name: &str, used_us: u64, parts: &[&str]) -> Member {
    Member {
        name: name.to_owned(),
        used_us,
        stamp: 3,
        own: takes(100),
        parts: parts.iter().map(|name| id(name)).collect(),
    }
}

/// Two environments that share one part, one unused part, and the rest.
fn filled(path: &Path) -> Ledger {
    let mut ledger = Ledger::read(path);
    for (name, bytes) in [
        ("uv/archive-v0/a", 1000),
        ("bytecode/abi/b c", 200),
        ("uv/archive-v0/x", 50),
    ] {
        ledger.add_part(part(name, bytes));
    }
    ledger.add_member(member(
        "tenants/t/envs/new",
        20,
        &["uv/archive-v0/a", "bytecode/abi/b c"],
    ));
    ledger.add_member(member("tenants/t/envs/old", 10, &["uv/archive-v0/a"]));
    ledger.set_rest(takes(30));
    ledger.save(path).unwrap();
    ledger
}

fn same(one: &Ledger, other: &Ledger) -> bool {
    one.parts == other.parts && one.members == other.members && one.rest == other.rest
}

#[test]
fn a_saved_ledger_reads_back_and_shared_parts_count_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = path(dir.path());
    let mut written = filled(&path);
    let read = Ledger::read(&path);
    assert!(same(&written, &read), "{read:?}");
    assert_eq!((read.held().bytes, read.live().bytes), (1480, 1430));
    let names: Vec<String> = read.oldest_first().into_iter().map(|member| member.name).collect();
    assert_eq!(names, ["tenants/t/envs/old", "tenants/t/envs/new"]);
    written.forget("tenants/t/envs/new");
    written.save(&path).unwrap();
    let read = Ledger::read(&path);
    assert!(same(&written, &read));
    let unused: Vec<String> = read.unused().into_iter().map(|part| part.name).collect();
    assert_eq!((unused.len(), read.live().bytes), (2, 1130), "{unused:?}");
}

#[test]
fn a_torn_or_changed_line_is_ignored_and_the_others_count() {
    let dir = tempfile::tempdir().unwrap();
    let path = path(dir.path());
    let whole = filled(&path);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines = text.lines().count();
    // The last line is the rest: it was on its way when the machine stopped, and another writer appends to what there is.
    std::fs::write(&path, &text[..text.len() - 5]).unwrap();
    let mut read = Ledger::read(&path);
    assert!(read.rest.is_none() && read.members == whole.members);
    read.add_part(part("uv/archive-v0/late", 1));
    read.save(&path).unwrap();
    read.set_rest(takes(30));
    read.save(&path).unwrap();
    assert_eq!(Ledger::read(&path).rest, whole.rest);
    std::fs::write(&path, text.replace(" 1000 ", " 1001 ")).unwrap();
    let read = Ledger::read(&path);
    assert!(lines == 7 && read.parts.len() == 2 && read.members == whole.members);
}

#[test]
fn a_part_still_being_written_is_not_saved() {
    let dir = tempfile::tempdir().unwrap();
    let path = path(dir.path());
    let mut ledger = Ledger::read(&path);
    ledger.add_part(part("store/whole", 1000));
    ledger.add_unfinished(part("store/half", 20));
    // The first one writes the whole file.
    ledger.save(&path).unwrap();
    assert_eq!((ledger.held().bytes, Ledger::read(&path).held().bytes), (1020, 1000));
    ledger.add_part(part("store/half", 200));
    ledger.save(&path).unwrap();
    assert_eq!((ledger.held().bytes, Ledger::read(&path).held().bytes), (1200, 1200));
}

#[test]
fn a_ledger_of_another_version_or_a_copy_is_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let path = path(dir.path());
    filled(&path);
    let text = std::fs::read_to_string(&path).unwrap();
    let copy = dir.path().join("copy");
    std::fs::write(&copy, &text).unwrap();
    assert!(Ledger::read(&copy).parts.is_empty());
    for (broken, name) in [
        (text.replace("ledger 1", "ledger 2"), "version"),
        (String::new(), "empty"),
        ("\0".repeat(4096), "not written before a crash"),
    ] {
        std::fs::write(&path, broken).unwrap();
        let mut read = Ledger::read(&path);
        assert!(read.parts.is_empty() && read.rest.is_none(), "{name}");
        read.add_part(part("uv/archive-v0/a", 1));
        read.save(&path).unwrap();
        assert_eq!(Ledger::read(&path).parts.len(), 1, "{name}");
    }
}

#[test]
fn the_ledger_is_rewritten_when_dead_lines_outnumber_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = path(dir.path());
    let mut ledger = filled(&path);
    for used_us in 0..2000 {
        ledger.add_member(member("tenants/t/envs/old", used_us, &[]));
        ledger.save(&path).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        text.lines().count() <= 2 * 6 + MAX_DEAD_LINES + 2,
        "{}",
        text.lines().count()
    );
    assert!(same(&ledger, &Ledger::read(&path)));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
