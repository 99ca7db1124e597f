//! A layer in normal form: the same files make the same bytes, whenever and wherever they were put together.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

use serde_json::Value;
use tar::{Archive, Builder, EntryType, Header};

/// The time of every file and of the image: 2024-01-01, a moment that no build took place at.
pub const EPOCH_S: u64 = 1_704_067_200;
const EPOCH: &str = "2024-01-01T00:00:00Z";

/// Where an entry's bytes are, and everything of its header that matters.
struct Item {
    kind: EntryType,
    mode: u32,
    owner: (u64, u64),
    size: u64,
    offset: u64,
    link: Option<Vec<u8>>,
    device: Option<(u32, u32)>,
    attributes: Vec<(String, Vec<u8>)>,
}

/// Writes the entries of `layer` in the order of their paths, hard links last, without times and user names.
///
/// # Errors
/// The archive is broken, or cannot be read or written.
pub fn layer(layer: &mut (impl Read + Seek), output: impl Write) -> io::Result<()> {
    let items = index(layer)?;
    let mut builder = Builder::new(output);
    for ((_, path), item) in items {
        layer.seek(SeekFrom::Start(item.offset))?;
        append(&mut builder, &path, &item, &mut layer.take(item.size))?;
    }
    builder.into_inner()?.flush()
}

/// Whether it is a hard link (its target must come first), and its path.
type Key = (bool, Vec<u8>);

fn index(layer: &mut (impl Read + Seek)) -> io::Result<BTreeMap<Key, Item>> {
    let mut items = BTreeMap::new();
    let mut archive = Archive::new(layer);
    for entry in archive.entries_with_seek()? {
        let mut entry = entry?;
        let path = entry.path_bytes().into_owned();
        let path = path.strip_prefix(b"./").unwrap_or(&path).to_vec();
        let mut attributes = Vec::new();
        for extension in entry.pax_extensions()?.into_iter().flatten() {
            let extension = extension?;
            let key = extension.key().map_err(io::Error::other)?;
            if key.starts_with("SCHILY.xattr.") {
                attributes.push((key.to_owned(), extension.value_bytes().to_vec()));
            }
        }
        attributes.sort();
        let header = entry.header();
        // Nothing else has these fields filled in by every writer.
        let is_device = matches!(header.entry_type(), EntryType::Block | EntryType::Char);
        let item = Item {
            kind: header.entry_type(),
            mode: header.mode()? & 0o7777,
            owner: (header.uid()?, header.gid()?),
            size: entry.size(),
            offset: entry.raw_file_position(),
            link: entry.link_name_bytes().map(|link| link.into_owned()),
            device: is_device.then(|| device(header)).transpose()?,
            attributes,
        };
        // The same path once more replaces what was there.
        items.insert((item.kind == EntryType::Link, path), item);
    }
    Ok(items)
}

fn device(header: &Header) -> io::Result<(u32, u32)> {
    let missing = || io::Error::other("a device without its numbers");
    let (major, minor) = (header.device_major()?, header.device_minor()?);
    Ok((major.ok_or_else(missing)?, minor.ok_or_else(missing)?))
}

fn append(builder: &mut Builder<impl Write>, path: &[u8], item: &Item, data: &mut impl Read) -> io::Result<()> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let mut header = Header::new_gnu();
    header.set_entry_type(item.kind);
    header.set_mode(item.mode);
    header.set_uid(item.owner.0);
    header.set_gid(item.owner.1);
    header.set_mtime(EPOCH_S);
    header.set_size(0);
    if let Some((major, minor)) = item.device {
        header.set_device_major(major)?;
        header.set_device_minor(minor)?;
    }
    let attributes = item
        .attributes
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_slice()));
    builder.append_pax_extensions(attributes)?;
    let path = OsStr::from_bytes(path);
    match &item.link {
        Some(link) => builder.append_link(&mut header, path, OsStr::from_bytes(link)),
        None => {
            header.set_size(item.size);
            builder.append_data(&mut header, path, data)
        }
    }
}

/// An image's configuration without what only its build knows: times, the builder's containers, checksums of contexts.
pub fn config(config: &mut Value, layers: &[String]) {
    let Some(fields) = config.as_object_mut() else { return };
    for name in ["container", "container_config", "docker_version", "id", "parent"] {
        fields.remove(name);
    }
    fields.insert("created".to_owned(), Value::from(EPOCH));
    if let Some(Value::Object(inner)) = fields.get_mut("config") {
        for name in ["Hostname", "Domainname", "Image"] {
            inner.remove(name);
        }
    }
    if let Some(Value::Array(history)) = fields.get_mut("history") {
        for step in history.iter_mut().filter_map(Value::as_object_mut) {
            step.insert("created".to_owned(), Value::from(EPOCH));
            if let Some(Value::String(text)) = step.get_mut("created_by") {
                *text = without_checksums(text);
            }
        }
    }
    let mut root = serde_json::Map::new();
    root.insert("type".to_owned(), Value::from("layers"));
    root.insert("diff_ids".to_owned(), Value::from(layers));
    fields.insert("rootfs".to_owned(), Value::Object(root));
}

/// `COPY dir:0123…` names a checksum that depends on times: `COPY dir`.
fn without_checksums(text: &str) -> String {
    let is_checksum = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let word = |word: &'_ str| match word.split_once(':') {
        Some((kind, sum)) if is_checksum(sum) => kind.to_owned(),
        _ => word.to_owned(),
    };
    text.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// A file, a folder, a link and a hard link, in a given order and at a given time.
    fn made(options: &[usize], time: u64) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for one in options {
            let mut header = Header::new_gnu();
            header.set_mtime(time);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mode(0o755);
            header.set_username(&format!("user{time}")).unwrap();
            header.set_size(0);
            match one {
                0 => {
                    header.set_entry_type(EntryType::Directory);
                    builder.append_data(&mut header, "b/", io::empty()).unwrap();
                }
                1 => {
                    header.set_size(5);
                    builder.append_data(&mut header, "b/file", &b"bytes"[..]).unwrap();
                }
                2 => {
                    header.set_entry_type(EntryType::Symlink);
                    builder.append_link(&mut header, "c".repeat(150), "b/file").unwrap();
                }
                _ => {
                    header.set_entry_type(EntryType::Link);
                    builder.append_link(&mut header, "a", "b/file").unwrap();
                }
            }
        }
        builder.into_inner().unwrap()
    }

    fn normal(bytes: Vec<u8>) -> Vec<u8> {
        let mut written = Vec::new();
        layer(&mut Cursor::new(bytes), &mut written).unwrap();
        written
    }

    #[test]
    fn order_time_and_builder_leave_no_trace() {
        let one = normal(made(&[0, 1, 2, 3], 1_800_000_000));
        assert_eq!(one, normal(made(&[2, 1, 3, 0], 5)));
        assert_eq!(one, normal(one.clone()));
    }

    #[test]
    fn the_files_are_still_what_they_were_and_a_hard_link_follows_its_target() {
        let bytes = normal(made(&[3, 2, 1, 0], 7));
        let mut archive = Archive::new(bytes.as_slice());
        let mut paths = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            assert_eq!(entry.header().mtime().unwrap(), EPOCH_S);
            assert_eq!(entry.header().mode().unwrap(), 0o755);
            let path = entry.path().unwrap().display().to_string();
            if path == "b/file" {
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                assert_eq!(text, "bytes");
            }
            paths.push(path);
        }
        let long = "c".repeat(150);
        assert_eq!(paths, ["b/", "b/file", long.as_str(), "a"]);
    }

    #[test]
    fn extended_attributes_survive() {
        let mut builder = Builder::new(Vec::new());
        builder
            .append_pax_extensions([
                ("SCHILY.xattr.security.capability", &b"\x01\x00"[..]),
                ("mtime", &b"1.5"[..]),
            ])
            .unwrap();
        let mut header = Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        builder.append_data(&mut header, "x", &b"1"[..]).unwrap();
        let bytes = normal(builder.into_inner().unwrap());
        let mut archive = Archive::new(bytes.as_slice());
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        let kept: Vec<_> = entry.pax_extensions().unwrap().unwrap().map(Result::unwrap).collect();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].value_bytes(), b"\x01\x00");
    }

    #[test]
    fn the_configuration_forgets_its_build() {
        let sum = "0".repeat(64);
        let mut made = serde_json::json!({
            "created": "2026-01-01T00:00:00Z", "container": "abc", "docker_version": "20.10",
            "config": {"Hostname": "abc", "User": "10001:10001", "Image": "sha256:1"},
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": format!("/bin/sh -c #(nop) COPY dir:{sum} in / ")}],
            "rootfs": {"type": "layers", "diff_ids": ["sha256:old"]},
        });
        config(&mut made, &["sha256:new".to_owned()]);
        let expected = serde_json::json!({
            "created": EPOCH, "config": {"User": "10001:10001"},
            "history": [{"created": EPOCH, "created_by": "/bin/sh -c #(nop) COPY dir in /"}],
            "rootfs": {"type": "layers", "diff_ids": ["sha256:new"]},
        });
        assert_eq!(made, expected);
    }
}
