//! Archives as scenarios build them: well-meant ones and hostile ones.

use std::io::{Cursor, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::write::GzEncoder;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// An entry of an archive.
#[derive(Debug, Clone)]
pub(crate) enum Entry<'a> {
    /// A file of this name and content.
    File(&'a str, &'a [u8]),
    /// A file of this many zeros.
    Zeros(&'a str, usize),
    /// A symbolic link from name to target.
    Link(&'a str, &'a str),
    /// A hard link from name to target; only tar has them.
    HardLink(&'a str, &'a str),
    /// A device; only tar has them.
    Device(&'a str),
}

/// Base64 of a zip archive.
pub(crate) fn zip(entries: &[Entry<'_>]) -> String {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().unix_permissions(0o755);
    for entry in entries {
        match entry {
            Entry::File(name, content) => {
                writer.start_file(*name, options).unwrap();
                writer.write_all(content).unwrap();
            }
            Entry::Zeros(name, count) => {
                writer.start_file(*name, options).unwrap();
                write_zeros(&mut writer, *count);
            }
            Entry::Link(name, target) => writer.add_symlink(*name, *target, options).unwrap(),
            Entry::HardLink(..) | Entry::Device(_) => panic!("zip has no such entries"),
        }
    }
    BASE64.encode(writer.finish().unwrap().into_inner())
}

/// Base64 of a zip archive of this many empty files beside `entry`.
pub(crate) fn zip_of_many(entry: &Entry<'_>, count: usize) -> String {
    let names: Vec<String> = (0..count).map(|number| format!("f{number}")).collect();
    let mut entries = vec![entry.clone()];
    entries.extend(names.iter().map(|name| Entry::File(name, b"")));
    zip(&entries)
}

/// Base64 of a compressed tar archive. Names go in as they are.
pub(crate) fn tar(entries: &[Entry<'_>]) -> String {
    let mut archive = GzEncoder::new(Vec::new(), Compression::default());
    for entry in entries {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o755);
        header.set_size(0);
        let (name, kind, target, content, zeros) = match entry {
            Entry::File(name, content) => (name, tar::EntryType::Regular, None, *content, 0),
            Entry::Zeros(name, count) => (name, tar::EntryType::Regular, None, &b""[..], *count),
            Entry::Link(name, target) => (name, tar::EntryType::Symlink, Some(target), &b""[..], 0),
            Entry::HardLink(name, target) => (name, tar::EntryType::Link, Some(target), &b""[..], 0),
            Entry::Device(name) => (name, tar::EntryType::Block, None, &b""[..], 0),
        };
        header.set_entry_type(kind);
        header.set_size((content.len() + zeros) as u64);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        if let Some(target) = target {
            header.set_link_name_literal(target).unwrap();
        }
        header.set_cksum();
        archive.write_all(header.as_bytes()).unwrap();
        archive.write_all(content).unwrap();
        write_zeros(&mut archive, zeros);
        write_zeros(&mut archive, (content.len() + zeros).wrapping_neg() % 512);
    }
    write_zeros(&mut archive, 1024);
    BASE64.encode(archive.finish().unwrap())
}

fn write_zeros(to: &mut impl Write, mut count: usize) {
    let zeros = [0; 1 << 16];
    while count > 0 {
        let piece = count.min(zeros.len());
        to.write_all(&zeros[..piece]).unwrap();
        count -= piece;
    }
}
